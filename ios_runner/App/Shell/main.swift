import RunnerCore
import UIKit

// Paths of a request begin in Documents: what is put there from outside is all that the app sees.
let documents = FileManager.default.urls(for: .documentDirectory, in: .userDomainMask)[0].path
FileManager.default.changeCurrentDirectoryPath(documents)

let info = Bundle.main.infoDictionary ?? [:]
let device = PhoneState()
let program = Program(
    farmBuild: info["FarmBuild"] as? String ?? Program.version,
    device: device,
    makeEngine: { try makeEngine(runtimeVersion: info["FarmRuntimeVersion"] as? String ?? "") })
let command = Program.command(Array(CommandLine.arguments.dropFirst()))

if command == .capabilities { exit(program.main(command)) }
_ = UIApplicationMain(CommandLine.argc, CommandLine.unsafeArgv, nil, NSStringFromClass(AppDelegate.self))
