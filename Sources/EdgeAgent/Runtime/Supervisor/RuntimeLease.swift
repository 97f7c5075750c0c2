import WireFormat

/// Until when a launch on trial may live: the file `lease` among the agent's files of the bot.
///
/// It holds one number, milliseconds of `BootTime`. The agent writes it before the launch, moves it on whenever it has
/// heard from the hub, and removes it when the trial is over. The supervisor looks at it twice a second and ends the
/// launch when its time has come, so the bot ends also where the agent is dead.
enum RuntimeLease {
    static let fileName = "lease"
    /// Between two looks of the supervisor.
    static let lookMilliseconds: UInt64 = 500

    enum State: Equatable {
        /// No lease any more: the launch may live on.
        case released
        /// Good until then.
        case until(UInt64)
    }

    /// A file that cannot be read or understood has ended: whoever cannot prove a lease has none.
    static func read(_ path: String) -> State {
        do {
            guard let bytes = try Files.read(path) else { return .released }
            return .until(UInt64(decimal: String(decoding: bytes, as: UTF8.self)) ?? 0)
        } catch {
            return .until(0)
        }
    }

    static func write(_ end: UInt64, to path: String) throws(Files.Failure) {
        try Files.replace(path, with: Array(String(end).utf8), mode: 0o600)
    }
}
