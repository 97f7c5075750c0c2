import Glibc
import WireFormat

/// How a bot is asked to end: signals, each with the time it is given. After the last step comes SIGKILL to everything
/// the bot started, always.
struct StopSequence: Sendable, Equatable, Codable {
    /// One signal and how long the bot may take over it.
    struct Step: Sendable, Equatable, Codable {
        var signal: Int32
        var milliseconds: UInt64

        init(_ signal: Int32, _ allowed: Duration) {
            self.signal = signal
            milliseconds = allowed.milliseconds
        }

        init(signal: Int32, milliseconds: UInt64) {
            (self.signal, self.milliseconds) = (signal, milliseconds)
        }
    }

    /// More steps are a mistake in a configuration.
    static let maximumSteps = 8

    /// In order; never SIGKILL, which ends every sequence anyway. Empty: SIGKILL at once.
    var steps: [Step]

    init(steps: [Step]) {
        self.steps = steps
    }

    /// SIGTERM, then SIGKILL.
    init(grace: Duration = .seconds(10)) {
        steps = [Step(SIGTERM, grace)]
    }

    /// From the first signal to SIGKILL.
    var total: Duration {
        .milliseconds(clamping: steps.reduce(UInt64(0)) { $0.clampedAdding($1.milliseconds) })
    }

    /// The same signals with SIGKILL after `total`: the steps take their time from it in order, and the last one all
    /// that is left. Steps for which nothing is left fall away.
    func spread(over total: Duration) -> StopSequence {
        var left = total.milliseconds
        var result: [Step] = []
        for (index, step) in steps.enumerated() where left > 0 {
            let isLast = index == steps.count - 1
            let share = isLast ? left : min(step.milliseconds, left)
            result.append(Step(signal: step.signal, milliseconds: share))
            left -= share
        }
        return StopSequence(steps: result)
    }
}

extension StopSequence {
    /// The signals a sequence may use, by their names without "SIG".
    static let signals: [String: Int32] = [
        "TERM": SIGTERM, "INT": SIGINT, "QUIT": SIGQUIT, "HUP": SIGHUP, "USR1": SIGUSR1, "USR2": SIGUSR2,
        "WINCH": SIGWINCH,
    ]

    /// What people call the signal: "SIGTERM".
    static func name(of signal: Int32) -> String {
        signals.first { $0.value == signal }.map { "SIG\($0.key)" } ?? (signal == SIGKILL ? "SIGKILL" : "\(signal)")
    }

    /// Reads `INT 5s, TERM 10s`: a list of signals, with or without "SIG", each with its time in `ms` or `s`.
    ///
    /// - Throws: `RuntimeError.profileNotUsable` that names the part that cannot be read.
    init(parsing text: String) throws(RuntimeError) {
        var steps: [Step] = []
        for part in text.split(separator: ",") {
            let words = part.split(whereSeparator: \.isWhitespace)
            let name = words.first.map { $0.hasPrefix("SIG") ? $0.dropFirst(3) : $0 } ?? ""
            if name == "KILL", words.count == 1 { continue }
            guard words.count == 2, let signal = Self.signals[String(name)],
                let milliseconds = Self.milliseconds(words[1])
            else {
                let known = Self.signals.keys.sorted().joined(separator: ", ")
                throw RuntimeError(
                    .profileNotUsable,
                    "\"\(part)\" is no step of a stop sequence; write a signal and its time, as in \"INT 5s, TERM 10s\". "
                        + "Signals: \(known); times end in s or ms; KILL follows by itself"
                )
            }
            steps.append(Step(signal: signal, milliseconds: milliseconds))
        }
        guard steps.count <= Self.maximumSteps else {
            throw RuntimeError(.profileNotUsable, "a stop sequence has at most \(Self.maximumSteps) steps: \(text)")
        }
        self.steps = steps
    }

    private static func milliseconds(_ text: Substring) -> UInt64? {
        // An hour; nobody waits longer for a process to end.
        let limit: UInt64 = 3_600_000
        if text.hasSuffix("ms") { return UInt64(decimal: text.dropLast(2)).flatMap { $0 <= limit ? $0 : nil } }
        guard text.hasSuffix("s"), let seconds = UInt64(decimal: text.dropLast()), seconds <= limit / 1_000 else {
            return nil
        }
        return seconds * 1_000
    }
}

extension Duration {
    /// Whole milliseconds, not below 0.
    var milliseconds: UInt64 { UInt64(clamping: wholeMilliseconds) }
}
