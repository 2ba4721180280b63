"""TCB status: levels reached, and what platform, TDX module and quoting enclave mean together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.verifier.dcap_factory import MODULE, isv_level, level, tcb_info, text

from enarx.errors import ParseError
from enarx.verifier.tcb import PlatformSvns, TcbAssessment, TcbStatus, assess
from enarx.verifier.tcb_info import IsvLevel, parse_tcb_info

UP_TO_DATE = IsvLevel(isv_svn=0, date="", status="UpToDate", advisories=())
GOOD = ("UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded")


def svn(module: int, version: int = 1, third: int = 3) -> bytes:
    return bytes([module, version, third]) + bytes(13)


def assessed(
    kind: str = "sgx",
    *,
    components: int = 5,
    pce: int = 10,
    qe: tuple[IsvLevel, ...] = (UP_TO_DATE,),
    launch: bytes | None = None,
    now: bytes | None = None,
    **info: Any,
) -> TcbAssessment:
    return assess(
        parse_tcb_info(text(tcb_info(kind, **info))),
        platform=PlatformSvns(components=(components,) * 16, pce_svn=pce),
        qe_levels=qe,
        qe_isv_svn=6,
        tee_tcb_svn=launch if launch is not None or kind == "sgx" else svn(5),
        tee_tcb_svn2=now,
    )


@pytest.mark.parametrize(
    ("components", "pce", "status"),
    [
        (5, 10, "UpToDate"),
        (255, 65535, "UpToDate"),
        (4, 10, "OutOfDate"),
        (2, 10, "OutOfDate"),
        (1, 10, "NoMatchingLevel"),
        (5, 9, "NoMatchingLevel"),
    ],
)
def test_first_level_that_is_nowhere_above_the_platform_counts(
    components: int, pce: int, status: str
) -> None:
    assert assessed(components=components, pce=pce).status == status


def test_one_component_below_is_enough_to_miss_a_level() -> None:
    for missing in range(16):
        components = tuple(4 if index == missing else 9 for index in range(16))
        found = assess(
            parse_tcb_info(text(tcb_info("sgx"))),
            platform=PlatformSvns(components=components, pce_svn=10),
            qe_levels=(UP_TO_DATE,),
            qe_isv_svn=1,
        )
        assert found.status is TcbStatus.OUT_OF_DATE


def test_order_of_levels_decides_not_their_height() -> None:
    levels = [level(2, "ConfigurationNeeded"), level(5, "UpToDate")]
    assert assessed(tcbLevels=levels).status is TcbStatus.CONFIGURATION_NEEDED


@pytest.mark.parametrize("status", [*GOOD, "OutOfDate", "OutOfDateConfigurationNeeded", "Revoked"])
def test_every_word_of_intels_is_passed_on(status: str) -> None:
    assert assessed(tcbLevels=[level(1, status)]).status == status


@pytest.mark.parametrize("status", ["", "uptodate", "TDRelaunchAdvised", "Fine", "UpToDate "])
def test_word_that_is_not_intels_is_never_guessed_at(status: str) -> None:
    assert assessed(tcbLevels=[level(1, status)]).status is TcbStatus.UNKNOWN


@pytest.mark.parametrize(
    ("platform", "part", "together"),
    [
        ("UpToDate", "OutOfDate", "OutOfDate"),
        ("SWHardeningNeeded", "OutOfDate", "OutOfDate"),
        ("ConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("ConfigurationAndSWHardeningNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("OutOfDate", "OutOfDate", "OutOfDate"),
        ("OutOfDateConfigurationNeeded", "OutOfDate", "OutOfDateConfigurationNeeded"),
        ("Revoked", "OutOfDate", "Revoked"),
        ("UpToDate", "Revoked", "Revoked"),
        ("OutOfDate", "Revoked", "Revoked"),
        ("ConfigurationNeeded", "UpToDate", "ConfigurationNeeded"),
        ("UpToDate", "SWHardeningNeeded", "Unknown"),
    ],
)
def test_quoting_enclave_and_module_take_the_platform_down(
    platform: str, part: str, together: str
) -> None:
    enclave = IsvLevel(isv_svn=1, date="", status=part, advisories=())
    assert assessed(qe=(enclave,), tcbLevels=[level(1, platform)]).status == together

    identities = [{"id": "TDX_01", **MODULE, "tcbLevels": [isv_level(1, part)]}]
    levels = [level(1, platform, tdx=(0,) * 16)]
    found = assessed("tdx", tcbLevels=levels, tdxModuleIdentities=identities)
    assert found.status == together
    assert found.platform_status == platform


def test_quoting_enclave_below_all_levels_is_not_supported() -> None:
    enclave = IsvLevel(isv_svn=7, date="", status="UpToDate", advisories=())
    found = assessed(qe=(enclave,))
    assert (found.status, found.qe_level) == (TcbStatus.NO_MATCHING_LEVEL, None)


def test_advisories_are_the_union_of_all_levels_reached() -> None:
    enclave = IsvLevel(isv_svn=1, date="", status="OutOfDate", advisories=("INTEL-SA-3", "B"))
    identities = [
        {"id": "TDX_01", **MODULE, "tcbLevels": [isv_level(1, "OutOfDate", "INTEL-SA-2", "B")]}
    ]
    levels = [level(1, "SWHardeningNeeded", tdx=(0,) * 16) | {"advisoryIDs": ["INTEL-SA-1", "B"]}]
    found = assessed("tdx", qe=(enclave,), tcbLevels=levels, tdxModuleIdentities=identities)
    assert found.advisories == ("B", "INTEL-SA-1", "INTEL-SA-2", "INTEL-SA-3")


class TestModule:
    """TDX module of version 0 is part of the platform, later ones have their own identity."""

    def test_version_zero_is_compared_with_the_platform(self) -> None:
        levels = [level(5, "UpToDate", tdx=(4, 0, 3, *([0] * 13)))]
        assert assessed("tdx", launch=svn(4, 0), tcbLevels=levels).status == "UpToDate"
        found = assessed("tdx", launch=svn(3, 0), tcbLevels=levels)
        assert found.status is TcbStatus.NO_MATCHING_LEVEL
        assert found.module is not None
        assert (found.module.name, found.module.status) == ("tdxModule", None)

    def test_later_version_leaves_the_first_two_out_of_the_platform(self) -> None:
        levels = [level(5, "UpToDate", tdx=(99, 99, 3, *([0] * 13)))]
        assert assessed("tdx", launch=svn(5, 1), tcbLevels=levels).status == "UpToDate"

    @pytest.mark.parametrize("position", range(2, 16))
    def test_every_other_component_counts(self, position: int) -> None:
        wanted = tuple(7 if index == position else 0 for index in range(16))
        have = bytearray(16)
        have[0], have[1], have[position] = 5, 1, 6
        levels = [level(5, "UpToDate", tdx=wanted)]
        assert assessed("tdx", launch=bytes(have), tcbLevels=levels).platform is None
        have[position] = 7
        assert assessed("tdx", launch=bytes(have), tcbLevels=levels).platform is not None

    @pytest.mark.parametrize(("version", "name"), [(3, "TDX_03"), (10, "TDX_0A"), (255, "TDX_FF")])
    def test_identity_goes_by_two_hex_digits(self, version: int, name: str) -> None:
        identities = [{"id": name, **MODULE, "tcbLevels": [isv_level(1, "UpToDate")]}]
        found = assessed("tdx", launch=svn(5, version), tdxModuleIdentities=identities)
        assert found.status is TcbStatus.UP_TO_DATE
        assert found.module is not None
        assert found.module.name == name

    def test_version_without_identity_is_not_supported(self) -> None:
        assert assessed("tdx", launch=svn(5, 2)).status is TcbStatus.NO_MATCHING_LEVEL

    def test_svn_below_all_levels_is_not_supported(self) -> None:
        assert assessed("tdx", launch=svn(4, 1)).status is TcbStatus.NO_MATCHING_LEVEL


class TestRelaunch:
    """TDX 1.5 tells the SVNs at launch from those of now."""

    IDENTITIES = (
        {
            "id": "TDX_01",
            **MODULE,
            "tcbLevels": [
                isv_level(6, "UpToDate"),
                isv_level(3, "OutOfDate"),
                isv_level(2, "Revoked"),
            ],
        },
    )

    def status(self, launch: int, now: int, platform: str = "UpToDate", **more: Any) -> str:
        levels = [level(5, platform, tdx=(0,) * 16)]
        info = {"tcbLevels": levels, "tdxModuleIdentities": self.IDENTITIES}
        return assessed("tdx", launch=svn(launch), now=svn(now), **info, **more).status

    @pytest.mark.parametrize(
        ("platform", "status"),
        [
            ("UpToDate", "TDRelaunchAdvised"),
            ("SWHardeningNeeded", "TDRelaunchAdvised"),
            ("ConfigurationNeeded", "TDRelaunchAdvisedConfigurationNeeded"),
            ("ConfigurationAndSWHardeningNeeded", "TDRelaunchAdvisedConfigurationNeeded"),
            ("OutOfDate", "OutOfDate"),
            ("Revoked", "Revoked"),
        ],
    )
    def test_is_advised_when_only_the_launch_is_behind(self, platform: str, status: str) -> None:
        assert self.status(3, 6, platform) == status

    def test_is_not_advised_when_both_are_behind(self) -> None:
        assert self.status(3, 3) == "OutOfDate"

    def test_is_not_needed_when_the_launch_was_up_to_date(self) -> None:
        assert self.status(6, 7) == "UpToDate"
        assert self.status(6, 3) == "UpToDate"

    def test_never_covers_up_a_revoked_or_unknown_module(self) -> None:
        assert self.status(2, 6) == "Revoked"
        assert self.status(6, 2) == "Revoked"
        assert self.status(1, 6) == "NoMatchingLevel"
        assert self.status(6, 1) == "NoMatchingLevel"

    def test_does_not_help_a_quoting_enclave_that_is_behind(self) -> None:
        behind = (IsvLevel(isv_svn=1, date="", status="OutOfDate", advisories=()),)
        assert self.status(3, 6, qe=behind) == "OutOfDate"
        assert self.status(3, 6, "ConfigurationNeeded", qe=behind) == "OutOfDateConfigurationNeeded"

    def test_is_advised_when_the_platform_part_was_behind_at_launch(self) -> None:
        levels = [
            level(5, "UpToDate", tdx=(0, 0, 4, *([0] * 13))),
            level(5, "OutOfDate", tdx=(0,) * 16),
        ]
        found = assessed(
            "tdx", launch=svn(6), now=svn(6, third=4), tcbLevels=levels,
            tdxModuleIdentities=self.IDENTITIES,
        )  # fmt: skip
        assert found.status is TcbStatus.TD_RELAUNCH_ADVISED
        assert found.platform_status is TcbStatus.OUT_OF_DATE


class TestTcbInfo:
    """The JSON is read in one way or not at all."""

    @pytest.mark.parametrize(
        "changes",
        [
            {"version": 2},
            {"version": 4},
            {"version": "3"},
            {"version": None},
            {"tcbType": 1},
            {"fmspc": "B0C06F00000"},
            {"fmspc": "B0C06F0000 0"},
            {"fmspc": "B0C06F00000G"},
            {"pceId": ""},
            {"issueDate": "2026-06-05"},
            {"issueDate": "2026-06-05T00:00:00+01:00"},
            {"issueDate": "2026-06-05 00:00:00Z"},
            {"issueDate": "2026-13-05T00:00:00Z"},
            {"nextUpdate": 5},
            {"tcbLevels": {}},
            {"tcbLevels": [{}]},
            {"tcbLevels": [level(256, "UpToDate")]},
            {"tcbLevels": [level(-1, "UpToDate")]},
            {"tcbLevels": [level(1, "UpToDate", tdx=(0,) * 16)]},
            {"tcbLevels": [level(1, "UpToDate")] * 257},
            {"tcbEvaluationDataNumber": "17"},
            {"tcbEvaluationDataNumber": 17.5},
        ],
    )
    def test_value_that_cannot_be_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(ParseError):
            parse_tcb_info(text(tcb_info("sgx", **changes)))

    def test_fifteen_components_are_refused(self) -> None:
        short = level(1, "UpToDate")
        short["tcb"]["sgxtcbcomponents"] = short["tcb"]["sgxtcbcomponents"][:15]
        with pytest.raises(ParseError):
            parse_tcb_info(text(tcb_info("sgx", tcbLevels=[short])))

    def test_tdx_level_without_tdx_components_is_refused(self) -> None:
        with pytest.raises(ParseError):
            parse_tcb_info(text(tcb_info("tdx", tcbLevels=[level(1, "UpToDate")])))

    def test_module_named_twice_is_refused(self) -> None:
        identity = {"id": "TDX_01", **MODULE, "tcbLevels": []}
        with pytest.raises(ParseError, match="twice"):
            parse_tcb_info(text(tcb_info("tdx", tdxModuleIdentities=[identity, identity])))

    @pytest.mark.parametrize("missing", sorted(tcb_info("sgx")))
    def test_missing_member_is_refused(self, missing: str) -> None:
        document = tcb_info("sgx")
        del document[missing]
        with pytest.raises(ParseError):
            parse_tcb_info(text(document))

    def test_member_that_is_not_known_is_left_alone(self) -> None:
        document = tcb_info("sgx", somethingNew={"a": [1]})
        assert parse_tcb_info(text(document)).evaluation_number == 17

    @given(st.binary(max_size=300))
    def test_any_bytes_are_read_or_refused(self, data: bytes) -> None:
        with pytest.raises(ParseError):
            parse_tcb_info(data)
