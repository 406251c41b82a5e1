"""A Jupyter kernel on top of `fluxion-console --json`: cells are inputs of the console, commands as well as C++.

    python3 fluxion_kernel.py install    makes the kernel known to Jupyter; FLUXION_CONSOLE names the program
    python3 fluxion_kernel.py            is what Jupyter starts

Needs the Python package ipykernel where it runs; everything else is the console's.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile


class Console:
    """The program, asked and answered line by line."""

    def __init__(self, program):
        self.program = program
        self.process = None
        self.asked = 0

    def start(self):
        # A session of its own: Jupyter interrupts whole groups, and the console is told by us, once.
        self.process = subprocess.Popen([self.program, "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, start_new_session=True)

    def ask(self, **question):
        """The answer as a dictionary. KeyboardInterrupt goes on to the console, which stops what runs."""
        if self.process is None or self.process.poll() is not None:
            self.start()
        self.asked += 1
        self.process.stdin.write(json.dumps({"id": self.asked, **question}) + "\n")
        self.process.stdin.flush()
        while True:
            try:
                line = self.process.stdout.readline()
            except KeyboardInterrupt:
                self.process.send_signal(signal.SIGINT)
                continue
            if not line:
                return {"ok": False, "error": {"kind": "exit", "message": "the console has ended; the next cell starts a new one"}}
            answer = json.loads(line)
            if answer.get("id") == self.asked:
                return answer

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(2)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None


def program():
    here = os.path.dirname(os.path.abspath(__file__))
    beside = os.path.join(here, "..", "..", "..", "build", "release", "demos", "fluxion-console")
    return os.environ.get("FLUXION_CONSOLE") or (os.path.abspath(beside) if os.path.exists(beside) else "fluxion-console")


def make_kernel_class(base):
    """The kernel as Jupyter wants it; `base` is ipykernel.kernelbase.Kernel."""

    class FluxionKernel(base):
        implementation = "fluxion"
        implementation_version = "0.1"
        language_info = {"name": "c++", "version": "20", "mimetype": "text/x-c++src", "file_extension": ".cpp"}
        banner = "Fluxion: C++ kernels typed, differentiated, run, timed and looked at. :help lists the commands."

        def __init__(self, **settings):
            super().__init__(**settings)
            self.console = Console(program())

        def stream(self, name, text):
            if text:
                self.send_response(self.iopub_socket, "stream", {"name": name, "text": text if text.endswith("\n") else text + "\n"})

        def do_execute(self, code, silent, store_history=True, user_expressions=None, allow_stdin=False, **rest):
            answer = self.console.ask(code=code)
            error = answer.get("error")
            if not silent:
                self.stream("stdout", answer.get("output", ""))
                self.stream("stderr", answer.get("errors", "") + answer.get("warnings", ""))
                values = "\n".join(v["text"] for v in answer.get("values", []))
                if values:
                    self.send_response(self.iopub_socket, "execute_result", {
                        "execution_count": self.execution_count, "data": {"text/plain": values}, "metadata": {}})
                if error:
                    self.send_response(self.iopub_socket, "error", {
                        "ename": error["kind"], "evalue": error["message"],
                        "traceback": error.get("report", error["message"]).splitlines()})
                if answer.get("replayed"):
                    self.stream("stderr", f"{answer['replayed']} inputs were run again, with what that does to files")
            if error:
                return {"status": "error", "execution_count": self.execution_count, "ename": error["kind"],
                        "evalue": error["message"], "traceback": []}
            return {"status": "ok", "execution_count": self.execution_count, "payload": [], "user_expressions": {}}

        def do_complete(self, code, cursor_pos):
            before = code[:cursor_pos]
            start = cursor_pos
            while start > 0 and (before[start - 1].isalnum() or before[start - 1] == "_"):
                start -= 1
            names = self.console.ask(complete=before.rsplit("\n", 1)[-1]).get("names", [])
            # A command's name comes with its colon.
            if names and names[0].startswith(":") and start > 0 and before[start - 1] == ":":
                start -= 1
            return {"status": "ok", "matches": names, "cursor_start": start, "cursor_end": cursor_pos, "metadata": {}}

        def do_shutdown(self, restart):
            self.console.stop()
            return {"status": "ok", "restart": restart}

    return FluxionKernel


def install():
    from jupyter_client.kernelspec import KernelSpecManager
    spec = {"argv": [sys.executable, os.path.abspath(__file__), "-f", "{connection_file}"], "display_name": "C++ (Fluxion)",
            "language": "c++", "env": {"FLUXION_CONSOLE": program()}}
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "kernel.json"), "w") as out:
            json.dump(spec, out, indent=1)
        print("installed in", KernelSpecManager().install_kernel_spec(folder, "fluxion", user=True))


if __name__ == "__main__":
    if sys.argv[1:2] == ["install"]:
        install()
    else:
        from ipykernel.kernelapp import IPKernelApp
        from ipykernel.kernelbase import Kernel
        IPKernelApp.launch_instance(kernel_class=make_kernel_class(Kernel))
