import Foundation
import ServiceReport
import Synchronization
import WireFormat

/// The time that a hub goes by: see `JudgedTime`.
final class JudgedClock: Sendable {
    /// What it looks at.
    struct Source: Sendable {
        /// Milliseconds since boot, suspended time included.
        var sinceBoot: @Sendable () -> Int64
        /// Milliseconds since 1970, which may be anything.
        var wall: @Sendable () -> Int64
        /// Another one after each boot.
        var bootID: String

        static let system = Source(
            sinceBoot: { MachineClock.sinceBoot() },
            wall: { MachineClock.wall() },
            bootID: readBootID()
        )

        /// Where it cannot be read every start counts as a boot, which only makes things younger.
        private static func readBootID() -> String {
            let read = try? HubFolder("/proc/sys/kernel/random").read("boot_id")
            let text = read.map { String(decoding: $0.filter { $0 > 0x20 }, as: UTF8.self) } ?? ""
            return text.isEmpty ? SecretBytes.base64URL(SecretBytes.random(count: 12)) : text
        }
    }

    /// Times that are apart by less may be of one moment.
    static let tolerance = TimeInterval(JudgedTime.tolerance) / 1000

    private let source: Source
    private let judged: Mutex<JudgedTime>

    init(
        after stored: ClockStore.Stored = ClockStore.Stored(),
        _ source: Source = .system,
        trial: Int64 = JudgedTime.trial
    ) {
        self.source = source
        judged = Mutex(
            JudgedTime(
                after: stored.mark,
                newest: stored.newest,
                sinceBoot: source.sinceBoot(),
                bootID: source.bootID,
                wall: source.wall(),
                trial: trial
            )
        )
    }

    /// For everybody else.
    func hubClock(
        now: @escaping @Sendable () -> ContinuousClock.Instant = HubClock.system.now,
        sleep: @escaping @Sendable (ContinuousClock.Instant) async throws -> Void = HubClock.system.sleep
    ) -> HubClock {
        HubClock(
            now: now,
            date: { Date(unixMilliseconds: self.read { $0.time(sinceBoot: $1) }) },
            sleep: sleep,
            horizon: { Date(unixMilliseconds: self.read { $0.horizon(sinceBoot: $1) }) },
            isSettled: { self.read { $0.isSettled(sinceBoot: $1) } }
        )
    }

    private func read<Value>(_ body: (JudgedTime, Int64) -> Value) -> Value {
        let sinceBoot = source.sinceBoot()
        return judged.withLock { body($0, sinceBoot) }
    }

    /// Where it is, to go on from after a restart, and as it will be once a step was carried out.
    func mark(after step: JudgedTime.Step? = nil) -> JudgedTime.Mark {
        read { judged, sinceBoot in
            var judged = judged
            if let step { judged.take(step) }
            return judged.mark(sinceBoot: sinceBoot, bootID: source.bootID)
        }
    }

    func observe() -> JudgedTime.Finding {
        let (sinceBoot, wall) = (source.sinceBoot(), source.wall())
        return judged.withLock { $0.observe(sinceBoot: sinceBoot, wall: wall) }
    }

    func take(_ step: JudgedTime.Step) { judged.withLock { $0.take(step) } }
}
