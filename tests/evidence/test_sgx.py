"""SGX enclave reports: field by field against real ones."""

from __future__ import annotations

import pytest

from enarx.errors import ParseError
from enarx.evidence.quote import Quote, Trailing
from enarx.evidence.sgx import SGX_REPORT_BODY_SIZE, SgxReportBody

from .quotes import SGX_BODY, Sample, samples

FIELDS = {
    "cpu_svn": "cpu_svn",
    "misc_select": "misc_select",
    "isv_ext_prod_id": "isv_ext_prod_id",
    "attributes": "attributes",
    "mrenclave": "mr_enclave",
    "mrsigner": "mr_signer",
    "isv_prod_id": "isv_prod_id",
    "isv_svn": "isv_svn",
    "config_svn": "config_svn",
    "isv_family_id": "isv_family_id",
    "report_data": "report_data",
    "debug": "debug",
}


@pytest.mark.parametrize("sample", samples("sgx", "ra-tls"))
def test_report_fields_are_those_expected(sample: Sample) -> None:
    body = Quote.parse(sample.read("quote"), trailing=Trailing.CUT).body

    for name, attribute in FIELDS.items():
        value = getattr(body, attribute)
        found = value.hex() if isinstance(value, bytes) else value
        assert found == sample.expected["fields"][name], name


def test_report_is_the_bytes_it_came_from() -> None:
    assert SgxReportBody.parse(SGX_BODY.pack()) == SGX_BODY
    assert len(SGX_BODY.pack()) == SGX_REPORT_BODY_SIZE


def test_report_cut_short_is_refused() -> None:
    with pytest.raises(ParseError):
        SgxReportBody.parse(SGX_BODY.pack()[:-1])


def test_debug_is_bit_one_of_the_flags() -> None:
    assert SgxReportBody(attributes=b"\x02" + bytes(15)).debug
    assert not SgxReportBody(attributes=b"\xfd" + bytes(15)).debug
