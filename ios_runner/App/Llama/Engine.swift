import RunnerCore

func makeEngine(runtimeVersion: String) throws -> Engine { LlamaEngine(version: runtimeVersion) }
