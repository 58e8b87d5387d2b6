import NativeEngine
import RunnerCore

let program = Program(farmBuild: Program.version, device: DeviceFile(), makeEngine: { try NativeEngine() })
exit(program.main(Program.command(Array(CommandLine.arguments.dropFirst()))))
