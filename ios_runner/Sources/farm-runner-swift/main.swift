import RunnerCore
import ScriptedEngine

let program = Program(farmBuild: Program.version, device: DeviceFile(), makeEngine: { ScriptedEngine() })
exit(program.main(Program.command(Array(CommandLine.arguments.dropFirst()))))
