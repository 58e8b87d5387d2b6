// swift-tools-version:5.9
import Foundation
import PackageDescription

// The core of the runner app, on Linux too. The app itself, with the engines, is made by App/project.yml.
var targets: [Target] = [
    .target(name: "CrashReport"),
    .target(name: "RunnerCore", dependencies: ["CrashReport"]),
    .target(name: "ScriptedEngine", dependencies: ["RunnerCore"]),
    .executableTarget(name: "farm-runner-swift", dependencies: ["RunnerCore", "ScriptedEngine"]),
    .testTarget(name: "RunnerCoreTests", dependencies: ["RunnerCore", "ScriptedEngine"]),
]
var products: [Product] = [
    .library(name: "RunnerCore", targets: ["RunnerCore"]),
    .executable(name: "farm-runner-swift", targets: ["farm-runner-swift"]),
]

let package = Package(
    name: "ios_runner",
    platforms: [.iOS("16.4"), .macOS(.v13)],
    products: products,
    targets: targets
)
