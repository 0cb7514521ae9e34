"""The commands of ``python -m llm_train``: each reads its flags first and loads torch and TRL only to run."""
