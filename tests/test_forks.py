"""What a forked child drops: registered objects are told, once each, as long as they live."""

from __future__ import annotations

import subprocess
import sys

# A child reports through its exit code how often each object was told.
SCRIPT = """
import gc, os
from lookalike import forks

class Holder:
    told = 0
    def drop_parents(self):
        self.told += 1

hooks = []
genuine, os.register_at_fork = os.register_at_fork, lambda **hook: (hooks.append(hook), genuine(**hook))
one, other, gone = Holder(), Holder(), Holder()
for holder in (one, other, one, gone):
    forks.register(holder)
del gone, holder
gc.collect()

def told_in_a_child():
    child = os.fork()
    if not child:
        grandchild = os.fork()
        if not grandchild:
            os._exit(10 * one.told + other.told)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

print(len(hooks), told_in_a_child(), one.told, other.told)
"""


def test_child_and_grandchild_are_told_and_the_parent_is_not() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("1 22 0 0\n", "")


# The other thread is in the middle of something when this one forks.
HELD_BACK = """
import os, threading, time
from lookalike import forks

begun, ended = threading.Event(), False

def work():
    global ended
    with forks.held_back():
        begun.set()
        time.sleep(0.3)
        ended = True

threading.Thread(target=work).start()
begun.wait()
child = os.fork()
if not child:
    with forks.held_back():
        os._exit(ended)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_fork_waits_for_a_thread_that_holds_it_back() -> None:
    ended = subprocess.run([sys.executable, "-c", HELD_BACK], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr) == ("1\n", "")
