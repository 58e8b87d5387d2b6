import RunnerCore
import UIKit
import os

/// What iOS tells of the phone. UIKit is asked on the main thread, the driver reads what it said last.
final class PhoneState: DeviceSource, @unchecked Sendable {
    private let lock = Lock()
    private var known = DeviceState()

    /// From now on the battery is watched. Main thread.
    @MainActor
    func begin() {
        let phone = UIDevice.current
        phone.isBatteryMonitoringEnabled = true
        readBattery()
        for name in [UIDevice.batteryLevelDidChangeNotification, UIDevice.batteryStateDidChangeNotification] {
            NotificationCenter.default.addObserver(forName: name, object: nil, queue: .main) { [weak self] _ in
                MainActor.assumeIsolated { self?.readBattery() }
            }
        }
    }

    func setFrontmost(_ isFrontmost: Bool) {
        lock.held { known.isFrontmost = isFrontmost }
    }

    func state() -> DeviceState {
        var found = lock.held { known }
        let process = ProcessInfo.processInfo
        switch process.thermalState {
        case .nominal: found.thermal = .nominal
        case .fair: found.thermal = .fair
        case .serious: found.thermal = .serious
        case .critical: found.thermal = .critical
        @unknown default: break
        }
        found.isLowPower = process.isLowPowerModeEnabled
        found.availableBytes = Int64(os_proc_available_memory())
        return found
    }

    @MainActor
    private func readBattery() {
        let phone = UIDevice.current
        let (level, state) = (phone.batteryLevel, phone.batteryState)
        lock.held {
            // Below 0 and unknown: the system does not tell.
            known.batteryPercent = level < 0 ? nil : Int((level * 100).rounded())
            known.isCharging = state == .unknown ? nil : state != .unplugged
        }
    }
}
