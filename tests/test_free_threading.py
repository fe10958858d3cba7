"""Importing edgelm leaves a free-threaded Python without its lock.

A module that does not declare that it needs none switches the lock on for the whole process. The
rest of the suite runs without the lock, too, by tools/free_threading.sh.
"""

import os
import subprocess
import sys
import sysconfig

import pytest

pytestmark = pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"),
    reason="this Python always has its lock; tools/free_threading.sh runs this on another",
)

UNDECLARED = """
#include <Python.h>
static PyModuleDef definition{PyModuleDef_HEAD_INIT, "undeclared"};
PyMODINIT_FUNC PyInit_undeclared() { return PyModule_Create(&definition); }
"""


def is_locked_after(imports, folder):
    """Whether a new Python, to which nothing was said about its lock, has it on in the end."""
    variables = {name: text for name, text in os.environ.items() if name != "PYTHON_GIL"}
    code = f"import sys, {imports}; print(sys._is_gil_enabled())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {"True\n": True, "False\n": False}[done.stdout]


def test_importing_edgelm_switches_no_lock_on(tmp_path):
    assert not is_locked_after("edgelm, edgelm._core, edgelm.bench", tmp_path)


def test_a_module_that_declares_nothing_switches_it_on(tmp_path):
    """Seeded fault: what the test above would show."""
    (tmp_path / "undeclared.cc").write_text(UNDECLARED)
    compiler = os.environ.get("CXX", "c++").split()
    options = ["-shared", "-fPIC", "-I", sysconfig.get_path("include")]
    name = f"undeclared{sysconfig.get_config_var('EXT_SUFFIX')}"
    command = [*compiler, *options, "undeclared.cc", "-o", name]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert is_locked_after("undeclared", tmp_path)
