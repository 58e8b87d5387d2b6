import LlamaEngine
import RunnerCore

let program = Program(farmBuild: Program.version, device: DeviceFile(), makeEngine: { LlamaEngine(version: "") })
exit(program.main(Program.command(Array(CommandLine.arguments.dropFirst()))))
