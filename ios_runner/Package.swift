// swift-tools-version:5.9
import PackageDescription

// The core of the runner app, on Linux too. The app itself, with its engines, is made by App/*.yml.
var products: [Product] = [
    .library(name: "RunnerCore", targets: ["RunnerCore"]),
    .executable(name: "farm-runner-swift", targets: ["farm-runner-swift"]),
]
var targets: [Target] = [
    .target(name: "CrashReport"),
    .target(name: "RunnerCore", dependencies: ["CrashReport"]),
    .target(name: "ScriptedEngine", dependencies: ["RunnerCore"]),
    .executableTarget(name: "farm-runner-swift", dependencies: ["RunnerCore", "ScriptedEngine"]),
    .testTarget(name: "RunnerCoreTests", dependencies: ["RunnerCore", "ScriptedEngine"]),
]

// The engines of the app on Linux, where their libraries are there: docs/ios.md.
if let include = Context.environment["FARM_LLAMA_INCLUDE"], let libraries = Context.environment["FARM_LLAMA_LIB"] {
    let headers: [SwiftSetting] = [.unsafeFlags(["-Xcc", "-I\(include)"])]
    // The libraries may be of a newer system than this one: what they need is there where the program runs.
    let links: [LinkerSetting] = [.unsafeFlags(["-L\(libraries)", "-Xlinker", "--allow-shlib-undefined"])]
    targets += [
        .systemLibrary(name: "llama", path: "Sources/LinuxLlama"),
        .target(name: "LlamaEngine", dependencies: ["RunnerCore", "llama"], swiftSettings: headers),
        .executableTarget(
            name: "farm-runner-llama-swift", dependencies: ["LlamaEngine"], swiftSettings: headers, linkerSettings: links),
    ]
}
if let library = Context.environment["FARM_ENGINE_LIB"] {
    let links: [LinkerSetting] = [.unsafeFlags(["-L\(library)", "-lfarm-engine", "-Xlinker", "--allow-shlib-undefined"])]
    targets += [
        .systemLibrary(name: "FarmEngine", path: "Sources/FarmEngine"),
        .target(name: "NativeEngine", dependencies: ["RunnerCore", "FarmEngine"]),
        .executableTarget(name: "farm-runner-native-swift", dependencies: ["NativeEngine"], linkerSettings: links),
    ]
}

let package = Package(
    name: "ios_runner", platforms: [.iOS("16.4"), .macOS(.v13)], products: products, targets: targets)
