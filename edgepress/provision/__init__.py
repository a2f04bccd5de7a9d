"""Getting devices ready: runtimes on boards, and the programs that emulators are made of."""
