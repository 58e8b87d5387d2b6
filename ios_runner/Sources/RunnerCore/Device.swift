/// What the event `device` tells; nil where the system does not.
public struct DeviceState: Equatable {
    public enum Thermal: String { case nominal, fair, serious, critical }

    public var thermal: Thermal?
    public var isLowPower: Bool?
    public var batteryPercent: Int?
    public var isCharging: Bool?
    public var isFrontmost: Bool?
    public var availableBytes: Int64?

    public init() {}

    var isEmpty: Bool { self == DeviceState() }

    func event(at uptime: Int64) -> Event {
        var event = Event("device", at: uptime)
        if let thermal { event.add("thermal_state", thermal.rawValue) }
        if let isLowPower { event.add("low_power", isLowPower) }
        if let batteryPercent { event.add("battery_level_pct", batteryPercent) }
        if let isCharging { event.add("charging", isCharging) }
        if let isFrontmost { event.add("frontmost", isFrontmost) }
        if let availableBytes { event.add("available_bytes", availableBytes) }
        return event
    }
}

/// Where the state of the device is read; called from the thread of the driver.
public protocol DeviceSource {
    func state() -> DeviceState
}

/// A JSON file with the fields of the event: for systems that tell none of it by themselves.
public struct DeviceFile: DeviceSource {
    private let path: String

    /// The file that FARM_DEVICE_STATE names; nil where it names none.
    public init?() {
        guard let named = getenv("FARM_DEVICE_STATE"), named.pointee != 0 else { return nil }
        path = String(cString: named)
    }

    public func state() -> DeviceState {
        var found = DeviceState()
        // A file that is just being replaced, or is no JSON, tells nothing.
        guard let bytes = content(of: path, limit: 1 << 16), let told = try? Json.parse(bytes) else { return found }
        if case .text(let word) = told.member("thermal_state") { found.thermal = DeviceState.Thermal(rawValue: word) }
        if case .boolean(let value) = told.member("low_power") { found.isLowPower = value }
        if case .integer(let value) = told.member("battery_level_pct"), (0...100).contains(value) {
            found.batteryPercent = Int(value)
        }
        if case .boolean(let value) = told.member("charging") { found.isCharging = value }
        if case .boolean(let value) = told.member("frontmost") { found.isFrontmost = value }
        if case .integer(let value) = told.member("available_bytes"), value >= 0 { found.availableBytes = value }
        return found
    }
}

/// Tells the state of the device: when asked, when the thermal state changes, and every few seconds.
struct DeviceWatch {
    /// Between two looks and two events, in nanoseconds.
    static let lookInterval: Int64 = 250_000_000
    static let tellInterval: Int64 = 5_000_000_000

    private let source: DeviceSource?
    private let events: EventWriter
    private var thermal: DeviceState.Thermal?
    private var looked: Int64 = 0
    private var told: Int64 = 0

    init(_ source: DeviceSource?, _ events: EventWriter) {
        self.source = source
        self.events = events
    }

    /// Throws `Failure` not_frontmost where the program is in the background: the system takes the GPU away from it.
    mutating func tell(at now: Int64) throws { try look(at: now, tells: true) }

    /// As `tell`, where it is time for it.
    mutating func follow(at now: Int64) throws {
        if now - looked >= Self.lookInterval { try look(at: now, tells: now - told >= Self.tellInterval) }
    }

    /// The failure of a runtime, as what it comes from: in the background its calls fail in many ways.
    func cause(of failure: Failure) -> Failure {
        source?.state().isFrontmost == false ? Self.notFrontmost : failure
    }

    private mutating func look(at now: Int64, tells: Bool) throws {
        guard let state = source?.state() else { return }
        looked = now
        if (tells || state.thermal != thermal || state.isFrontmost == false), !state.isEmpty {
            told = now
            thermal = state.thermal
            try events.write(state.event(at: uptime()))
        }
        if state.isFrontmost == false { throw Self.notFrontmost }
    }

    static let notFrontmost = Failure(
        .notFrontmost, "the program went to the background, where the system takes the GPU away and may suspend it")
}
