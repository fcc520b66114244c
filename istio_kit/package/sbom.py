"""The software bill of materials: CycloneDX 1.6 as JSON."""

from __future__ import annotations

import datetime
import hashlib
import uuid
from collections.abc import Sequence

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component as CdxComponent
from cyclonedx.model.component import ComponentType
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from istio_kit.package.parts import Component


def render(components: Sequence[Component], epoch: int) -> bytes:
    """Return the document; equal contents give equal bytes.

    ``epoch``: seconds since 1970 that stand for the time of the build.
    """
    when = datetime.datetime.fromtimestamp(epoch, tz=datetime.UTC)
    subject = CdxComponent(
        type=ComponentType.LIBRARY,
        name="multibuffer-package",
        version=components[0].version,
        bom_ref="multibuffer-package",
    )
    bom = Bom(
        components=[_component(one) for one in components],
        metadata=BomMetaData(component=subject, timestamp=when),
        serial_number=_serial_number(components),
    )
    bom.register_dependency(subject, bom.components)
    text: str = JsonV1Dot6(bom).output_as_string(indent=2)
    return (text + "\n").encode()


def _component(one: Component) -> CdxComponent:
    return CdxComponent(
        type=ComponentType.LIBRARY,
        name=one.name,
        version=one.version,
        bom_ref=one.name,
        purl=PackageURL.from_string(one.purl) if one.purl else None,
        licenses=[DisjunctiveLicense(id=one.licence_id)] if one.licence_id else None,
        components=[
            CdxComponent(
                type=ComponentType.FILE,
                name=name,
                bom_ref=f"{one.name}/{name}",
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=_sha256(data))],
            )
            for name, data in sorted(one.files.items())
        ],
    )


def _serial_number(components: Sequence[Component]) -> uuid.UUID:
    """A random one would make two packages of the same parts differ."""
    facts = [
        f"{one.name} {one.version} {name} {_sha256(data)}"
        for one in components
        for name, data in sorted(one.files.items())
    ]
    return uuid.uuid5(uuid.NAMESPACE_OID, "\n".join(facts))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
