import RunnerCore

/// The version is the one that the back end was compiled with.
func makeEngine(runtimeVersion: String) throws -> Engine { try NativeEngine() }
