"""TD report bodies: field by field against real ones, TDX 1.0 and 1.5."""

from __future__ import annotations

import dataclasses

import pytest

from enarx.errors import UsageError
from enarx.evidence.quote import Quote, Trailing
from enarx.evidence.tdx import TdReportBody

from .quotes import TD_10, TD_15, Sample, samples

FIELDS = {
    "tee_tcb_svn": "tee_tcb_svn",
    "mr_seam": "mr_seam",
    "mr_signer_seam": "mr_signer_seam",
    "seam_attributes": "seam_attributes",
    "td_attributes": "td_attributes",
    "xfam": "xfam",
    "mrtd": "mr_td",
    "mr_config_id": "mr_config_id",
    "mr_owner": "mr_owner",
    "mr_owner_config": "mr_owner_config",
    "rtmr0": "rtmr0",
    "rtmr1": "rtmr1",
    "rtmr2": "rtmr2",
    "rtmr3": "rtmr3",
    "report_data": "report_data",
}


@pytest.mark.parametrize("sample", samples("tdx"))
def test_report_fields_are_those_expected(sample: Sample) -> None:
    quote = Quote.parse(sample.read("quote"), trailing=Trailing.CUT)
    body, fields = quote.body, sample.expected["fields"]

    assert isinstance(body, TdReportBody)
    for name, attribute in FIELDS.items():
        assert getattr(body, attribute).hex() == fields[name], name
    assert [register.hex() for register in body.rtmrs] == fields["rtmrs"]
    assert list(body.attribute_flags) == fields["td_attribute_flags"]
    assert body.debug == fields["debug"]
    for name in ("tee_tcb_svn2", "mr_service_td"):
        value = getattr(body, name)
        assert (value.hex() if value else None) == fields.get(name), name


def test_report_is_the_bytes_it_came_from() -> None:
    assert TdReportBody.parse(TD_10.pack()) == TD_10
    assert TdReportBody.parse_15(TD_15.pack()) == TD_15
    assert (len(TD_10.pack()), len(TD_15.pack())) == (584, 648)


def test_half_of_the_tdx_15_fields_is_not_packed() -> None:
    with pytest.raises(UsageError):
        dataclasses.replace(TD_15, mr_service_td=None).pack()


def test_attribute_flags_are_named_lowest_bit_first() -> None:
    every = TdReportBody(td_attributes=b"\xff" * 8).attribute_flags
    assert every == ("debug", "sept_ve_disable", "migratable", "pks", "key_locker", "perfmon")


def test_any_bit_of_the_debug_group_is_debug() -> None:
    for bit in range(8):
        assert TdReportBody(td_attributes=(1 << bit).to_bytes(8, "little")).debug
    assert not TdReportBody(td_attributes=(1 << 8).to_bytes(8, "little")).debug
