"""Drives the class of the Jupyter kernel without Jupyter: its base is played by a few lines. Prints "good" at the end."""
import os
import signal
import sys
import threading
import time

sys.path.insert(0, sys.argv[1])
import fluxion_kernel  # noqa: E402


class Base:
    iopub_socket, execution_count = None, 0

    def __init__(self):
        self.sent = []

    def send_response(self, socket, kind, content):
        self.sent.append((kind, content))


kernel = fluxion_kernel.make_kernel_class(Base)()


def run(code):
    kernel.sent.clear()
    kernel.execution_count += 1
    return kernel.do_execute(code, False), list(kernel.sent)


def check(what, saw):
    if not what:
        print("not as expected:", saw)
        sys.exit(1)


reply, sent = run("int a = 20;\na + 1")
check(reply["status"] == "ok" and sent == [("execute_result", {"execution_count": 1, "data": {"text/plain": "21"}, "metadata": {}})], sent)
reply, sent = run("std::cout << a << std::endl;")
check(sent == [("stream", {"name": "stdout", "text": "20\n"})], sent)
reply, sent = run("a + nonsense")
check(reply["status"] == "error" and sent[0][0] == "error" and "undeclared" in sent[0][1]["evalue"], sent)
reply, sent = run("std::raise(SIGSEGV);")
check(reply["ename"] == "crash" and any("run again" in c.get("text", "") for k, c in sent), sent)
done = kernel.do_complete("int b = 1;\nfx::Device::bes", 26)
check(done["matches"] == ["best"] and done["cursor_start"] == 23, done)
done = kernel.do_complete(":he", 3)
check(done["matches"] == [":help"] and done["cursor_start"] == 0, done)

# An interrupt stops what runs, in place.
_, sent = run("getpid()")
process = sent[0][1]["data"]["text/plain"]
run("""auto x = fx::Device::best().full(1.f, 100);
auto k = fx::kernel("endless", [](fx::InOut<float> x) {
  auto i = fx::index(); fx::Float v = x[i];
  for (auto _ : fx::while_([&] { return v > 0.f; })) v = v * 0.5f + 1.f;
  x[i] = v;
});""")
threading.Thread(target=lambda: (time.sleep(1), os.kill(os.getpid(), signal.SIGINT)), daemon=True).start()
reply, sent = run("k(x)")
check(reply["ename"] == "Cancelled", (reply, sent))
_, sent = run("getpid()")
check(sent[0][1]["data"]["text/plain"] == process, sent)
# An interrupt while nothing runs means nothing.
kernel.console.process.send_signal(signal.SIGINT)
time.sleep(0.3)
_, sent = run("getpid()")
check(sent[0][1]["data"]["text/plain"] == process, sent)
kernel.do_shutdown(False)
try:
    import ipykernel  # noqa: F401
except ImportError:
    print("ipykernel is not here: the kernel was not started by Jupyter itself")
print("good")
