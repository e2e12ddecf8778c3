"""The compose file's commands as processes of this machine: same code, command and environment, other addresses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copyfile
from typing import IO

from tests.deploy import image
from tests.deploy.compose import SERVICES, environment, secrets, service

APP, SECRETS = "/app", "/run/secrets"


@dataclass
class OneServer:
    """``app`` holds what the image would, ``made`` what new-secrets.sh makes. ``addresses`` are those of the compose
    network -> those of this machine."""

    folder: Path
    addresses: dict[str, str]
    ports: dict[str, int] = field(default_factory=dict)
    running: dict[str, Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        image.unpack(self.app)
        new_secrets = image.ROOT / "deploy" / "compose" / "new-secrets.sh"
        assert os.spawnlp(os.P_WAIT, "sh", "sh", str(new_secrets), str(self.made)) == 0
        with ExitStack() as taken:
            sockets = [taken.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in SERVICES]
            self.ports = {name: one.getsockname()[1] for name, one in zip(SERVICES, sockets, strict=True)}

    @property
    def app(self) -> Path:
        return self.folder / "app"

    @property
    def made(self) -> Path:
        return self.folder / "made"

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def environment(self, name: str) -> dict[str, str]:
        """The image's and the compose file's, and nothing of this process but what finds Python."""
        given = {**image.environment(), **environment(name), **self._ports_of(name)}
        here = {key: self._here(name, value) for key, value in given.items()}
        return here | {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.app), "KIZASHI_HOST": "127.0.0.1"}

    def _ports_of(self, name: str) -> dict[str, str]:
        if name == "kizashi":
            return {f"KIZASHI_CLI_{one.upper()}_URL": self.url(one) for one in SERVICES}
        return {key: str(self.ports[key.split("_")[1].lower()]) for key in environment(name) if key.endswith("_PORT")}

    def _here(self, name: str, value: str) -> str:
        if value in self.addresses:
            return self.addresses[value]
        for there, here in ((SECRETS, self._secrets_of(name)), (APP, self.app)):
            if Path(value).is_relative_to(there):
                return str(here / Path(value).relative_to(there))
        return value

    def _secrets_of(self, name: str) -> Path:
        """Only those that this service is given, under the names it is given them by."""
        folder = self.folder / "secrets" / name
        folder.mkdir(parents=True, exist_ok=True)
        for target, source in secrets(name).items():
            copyfile(self.made / source.name, folder / target)
        return folder

    # --- what Docker would do ---

    async def start(self, name: str) -> None:
        with self._log(name).open("wb") as log:
            self.running[name] = await self._execute(service(name)["command"], self.environment(name), log)

    async def run(self, name: str, *arguments: str, **more: str) -> tuple[int, str]:
        """What ends by itself: its exit status, and what it said. ``more`` is given with --env, or stands in .env."""
        command = [*service(name).get("entrypoint", []), *service(name).get("command", []), *arguments]
        process = await self._execute(command, self.environment(name) | more, PIPE)
        said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()

    async def is_healthy(self, name: str) -> bool:
        """What the health check says, of this machine's port."""
        kind, *command = service(name)["healthcheck"]["test"]
        assert kind == "CMD"
        published = environment(name)[f"KIZASHI_{name.upper()}_PORT"]
        here = [part.replace(f":{published}/", f":{self.ports[name]}/") for part in command]
        process = await self._execute(here, self.environment(name), DEVNULL)
        return await process.wait() == 0

    def refuse_dead(self, name: str) -> None:
        """Raises AssertionError with what it said last when ``name`` has ended by itself."""
        if self.running[name].returncode is not None:
            raise AssertionError(f"{name} ended: {self._log(name).read_text()[-2000:]}")

    async def stop(self, name: str) -> int:
        """The exit status after SIGTERM."""
        process = self.running.pop(name)
        process.terminate()
        return await process.wait()

    async def kill(self) -> None:
        for process in self.running.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    async def _execute(self, command: list[str], environment: dict[str, str], output: int | IO[bytes]) -> Process:
        program = {"python": sys.executable, "kizashi": str(Path(sys.executable).with_name("kizashi"))}[command[0]]
        return await asyncio.create_subprocess_exec(
            program, *command[1:], cwd=self.app, env=environment, stdout=output, stderr=STDOUT
        )
