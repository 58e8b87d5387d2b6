import RunnerCore
import UIKit

final class AppDelegate: UIResponder, UIApplicationDelegate {
    func application(
        _ application: UIApplication, didFinishLaunchingWithOptions options: [UIApplication.LaunchOptionsKey: Any]?
    ) -> Bool {
        device.begin()
        return true
    }
}

/// One black screen: the display shows nothing that costs time or much energy.
final class SceneDelegate: UIResponder, UIWindowSceneDelegate {
    var window: UIWindow?

    func scene(_ scene: UIScene, willConnectTo session: UISceneSession, options: UIScene.ConnectionOptions) {
        guard let scene = scene as? UIWindowScene else { return }
        let screen = UIViewController()
        screen.view.backgroundColor = .black
        let label = UILabel(frame: screen.view.bounds)
        label.autoresizingMask = [.flexibleWidth, .flexibleHeight]
        label.numberOfLines = 0
        label.textAlignment = .center
        label.textColor = .darkGray
        label.text = isMeasuring
            ? "A measurement is under way.\nLeave the phone unlocked and this app in front."
            : "This app is started by farm over the cable.\nIt does nothing by itself."
        screen.view.addSubview(label)
        let window = UIWindow(windowScene: scene)
        window.rootViewController = screen
        window.makeKeyAndVisible()
        self.window = window
        // A phone that locks itself sends the app to the background.
        UIApplication.shared.isIdleTimerDisabled = isMeasuring
    }

    func sceneDidBecomeActive(_ scene: UIScene) {
        device.setFrontmost(true)
        if isMeasuring { ContractRun.begin() }
    }

    func sceneDidEnterBackground(_ scene: UIScene) {
        device.setFrontmost(false)
        // At once: what is left running is suspended in mid token, and its GPU calls fail.
        if ContractRun.hasBegun { LastWords.endInBackground() }
    }

    private var isMeasuring: Bool { command != .unknown }
}

/// The run of the contract, in a thread of its own; its end is the end of the app.
@MainActor
enum ContractRun {
    private(set) static var hasBegun = false

    static func begin() {
        if hasBegun { return }
        hasBegun = true
        let thread = Thread {
            // Not exit: threads of the runtime and of UIKit may hold what its destructors wait for.
            _exit(program.main(command))
        }
        thread.name = "farm-runner"
        thread.qualityOfService = .userInteractive
        thread.stackSize = 8 << 20
        thread.start()
    }
}
