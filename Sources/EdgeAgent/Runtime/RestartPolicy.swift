/// Whether a bot that ended unasked is started again.
enum RestartPolicy: String, Sendable, Codable, CaseIterable {
    /// Never.
    case never = "no"
    /// After any end but an exit with status 0.
    case onFailure = "on-failure"
    /// Whatever the exit status; only status 78 and a `fatal` packet are respected.
    case always

    /// `EX_CONFIG`: the bot says its set-up is wrong, so starting it again cannot help.
    static let configurationExitCode: Int32 = 78

    func restarts(afterSuccess isSuccess: Bool) -> Bool {
        switch self {
        case .never: false
        case .onFailure: !isSuccess
        case .always: true
        }
    }
}

/// How long to wait before a bot is started again, and when to give up. Pure.
struct RestartBackoff: Sendable, Equatable {
    /// The first wait; doubles with each quick end.
    var firstDelay: Duration = .seconds(1)
    var maximumDelay: Duration = .seconds(60)
    /// A launch that lived this long starts the count again.
    var stableLifetime: Duration = .seconds(60)
    /// This many quick ends in a row are a crash loop.
    var maximumQuickEnds = 5

    enum Decision: Sendable, Equatable {
        case restart(after: Duration)
        case giveUp
    }

    /// - Parameters:
    ///   - quickEnds: ends in a row so far; updated.
    ///   - lifetime: how long the launch lived.
    func decide(quickEnds: inout Int, lifetime: Duration) -> Decision {
        quickEnds = lifetime >= stableLifetime ? 1 : quickEnds + 1
        guard quickEnds < maximumQuickEnds else { return .giveUp }
        var delay = firstDelay
        for _ in 1..<max(1, quickEnds) where delay < maximumDelay { delay = delay * 2 }
        return .restart(after: min(delay, maximumDelay))
    }
}
