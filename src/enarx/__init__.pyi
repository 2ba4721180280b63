"""What a user imports, for type checkers: names are loaded when they are first used."""

from enarx.client.agent import AsyncClient as AsyncClient
from enarx.client.appraisal import Expected as Expected
from enarx.client.bounds import Timeouts as Timeouts
from enarx.client.config import Config as Config
from enarx.client.identity import Identity as Identity
from enarx.client.result import Result as Result
from enarx.client.simple import run as run
from enarx.client.simple import run_async as run_async
from enarx.client.start import open_client as open_client
from enarx.client.sync import Client as Client
from enarx.client.sync import workload as workload
from enarx.errors import EnarxError as EnarxError
from enarx.errors import VerificationError as VerificationError
from enarx.verifier.policy import Policy as Policy
from enarx.verifier.verdict import Verdict as Verdict
from enarx.wire.fields import Limits as Limits

__version__: str
