"""Kills and several processes, on their short profiles; the modules run the long ones by themselves."""

from tests.llm_train import kill_and_resume, two_processes


def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path):
    kill_and_resume.check(tmp_path, kills=1, seed=0)


def test_two_processes_give_what_one_gives(tmp_path):
    two_processes.compare(tmp_path, ["adaptive"])
