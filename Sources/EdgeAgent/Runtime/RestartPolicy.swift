/// Decides what follows when a bot ends unasked. Pure.
struct RestartPolicy: Sendable, Equatable {
    /// The first wait; doubles with each quick failure.
    var firstDelay: Duration = .seconds(1)
    var maximumDelay: Duration = .seconds(60)
    /// A launch that lived this long starts the count again.
    var stableLifetime: Duration = .seconds(60)
    /// This many quick failures in a row are a crash loop.
    var maximumQuickFailures = 5
    /// `EX_CONFIG`: the bot says its set-up is wrong, so starting it again cannot help.
    static let configurationExitCode: Int32 = 78

    enum Decision: Sendable, Equatable {
        case restart(after: Duration)
        case giveUp
    }

    /// - Parameters:
    ///   - quickFailures: failures in a row so far; updated.
    ///   - lifetime: how long the launch lived.
    func decide(quickFailures: inout Int, lifetime: Duration) -> Decision {
        quickFailures = lifetime >= stableLifetime ? 1 : quickFailures + 1
        guard quickFailures < maximumQuickFailures else { return .giveUp }
        var delay = firstDelay
        for _ in 1..<max(1, quickFailures) where delay < maximumDelay { delay = delay * 2 }
        return .restart(after: min(delay, maximumDelay))
    }
}
