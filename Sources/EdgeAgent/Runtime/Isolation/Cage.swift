/// Where a launch may go: part of its plan, made by the agent and built by the supervisor with what the kernel has.
struct Cage: Sendable, Equatable {
    /// Files, and directories with all below them, that may be read and executed.
    var readable: [String] = []
    /// That may be changed as well.
    var writable: [String] = []
    /// Devices that may be read, written and asked.
    var devices: [String] = []
    var opensUnixSockets = false
    /// What of these the profile opens beyond what every bot has; to be told, not to be built.
    var opened: [String] = []

    /// In the plan's fields.
    func write(to fields: inout PlanFields) {
        fields.add("cage", opensUnixSockets ? "unix_sockets" : "closed")
        for path in readable { fields.add("cage_read", path) }
        for path in writable { fields.add("cage_write", path) }
        for path in devices { fields.add("cage_device", path) }
        for path in opened { fields.add("cage_opened", path) }
    }

    /// Takes in a field of the plan; false where it is none of a cage.
    static func take(_ key: String, _ value: String, into cage: inout Cage?) -> Bool {
        switch key {
        case "cage": cage = cage ?? Cage()
        case "cage_read", "cage_write", "cage_device", "cage_opened": break
        default: return false
        }
        var taken = cage ?? Cage()
        switch key {
        case "cage_read": taken.readable.append(value)
        case "cage_write": taken.writable.append(value)
        case "cage_device": taken.devices.append(value)
        case "cage_opened": taken.opened.append(value)
        default: taken.opensUnixSockets = value == "unix_sockets"
        }
        cage = taken
        return true
    }
}
