"""The TD report body of a TDX quote: what the TDX module says of a trust domain.

Source: *Intel TDX DCAP Quoting Library API*, appendix A.3.2 (TD Quote Body), TDX 1.0 and 1.5.
"""

from __future__ import annotations

from dataclasses import dataclass

from enarx.errors import UsageError
from enarx.evidence.layout import Layout, later_octets, octets

TD_REPORT_10_SIZE = 584
TD_REPORT_15_SIZE = 648

TD_ATTRIBUTES = (
    (0, "debug"),
    (28, "sept_ve_disable"),
    (29, "migratable"),
    (30, "pks"),
    (31, "key_locker"),
    (63, "perfmon"),
)
"""(bit, name) of the TD attributes (TDX module base architecture specification, ATTRIBUTES)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TdReportBody:
    """One trust domain, as measured by the TDX module. Every byte is signed.

    Attributes:
        tee_tcb_svn: SVNs of the TDX module and its loader at launch of the TD.
        mr_seam: measurement of the TDX module.
        mr_signer_seam: its signer; zeros for Intel's.
        seam_attributes: attributes of the TDX module.
        td_attributes: of the TD, see :data:`TD_ATTRIBUTES`.
        xfam: extended features the TD may use.
        mr_td: measurement of the TD's initial contents.
        mr_config_id, mr_owner, mr_owner_config: chosen by the host at launch.
        rtmr0, rtmr1, rtmr2, rtmr3: run-time measurement registers.
        report_data: 64 bytes of the TD's choice.
        tee_tcb_svn2: as ``tee_tcb_svn``, but now (TDX 1.5); None in a TDX 1.0 body.
        mr_service_td: hash of the service TDs that are bound, zeros if none (TDX 1.5);
            None in a TDX 1.0 body.
    """

    tee_tcb_svn: bytes = octets(16)
    mr_seam: bytes = octets(48)
    mr_signer_seam: bytes = octets(48)
    seam_attributes: bytes = octets(8)
    td_attributes: bytes = octets(8)
    xfam: bytes = octets(8)
    mr_td: bytes = octets(48)
    mr_config_id: bytes = octets(48)
    mr_owner: bytes = octets(48)
    mr_owner_config: bytes = octets(48)
    rtmr0: bytes = octets(48)
    rtmr1: bytes = octets(48)
    rtmr2: bytes = octets(48)
    rtmr3: bytes = octets(48)
    report_data: bytes = octets(64)
    tee_tcb_svn2: bytes | None = later_octets(16)
    mr_service_td: bytes | None = later_octets(48)

    @classmethod
    def parse(cls, data: bytes, *, offset: int = 0) -> TdReportBody:
        """Read a TDX 1.0 body, 584 bytes at ``offset``.

        Raises:
            ParseError: fewer are left.
        """
        return _LAYOUT_10.parse(data, offset=offset)

    @classmethod
    def parse_15(cls, data: bytes, *, offset: int = 0) -> TdReportBody:
        """Read a TDX 1.5 body, 648 bytes at ``offset``.

        Raises:
            ParseError: fewer are left.
        """
        return _LAYOUT_15.parse(data, offset=offset)

    def pack(self) -> bytes:
        """The 584 or, for TDX 1.5, 648 bytes that are signed.

        Raises:
            UsageError: a field has another size than the layout gives it, or only one of the
                TDX 1.5 fields is there.
        """
        if (self.tee_tcb_svn2 is None) != (self.mr_service_td is None):
            raise UsageError("a TDX 1.5 body has both tee_tcb_svn2 and mr_service_td")
        return (_LAYOUT_10 if self.tee_tcb_svn2 is None else _LAYOUT_15).pack(self)

    @property
    def rtmrs(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The four run-time measurement registers in order."""
        return self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3

    @property
    def attribute_flags(self) -> tuple[str, ...]:
        """Names of the TD attributes that are set and known, lowest bit first."""
        word = int.from_bytes(self.td_attributes, "little")
        return tuple(name for bit, name in TD_ATTRIBUTES if word >> bit & 1)

    @property
    def debug(self) -> bool:
        """Whether the TD is under debug: any bit of the group, of which only one is defined."""
        return self.td_attributes[0] != 0


_LAYOUT_10 = Layout(TdReportBody, size=TD_REPORT_10_SIZE, without=("tee_tcb_svn2", "mr_service_td"))
_LAYOUT_15 = Layout(TdReportBody, size=TD_REPORT_15_SIZE)
