import WireFormat

/// What follows when a launch ended and the bot is meant to run. Pure.
///
/// ```
/// fatal packet, status 78, on trial, something of it runs on ───► failed
/// could not be started ──► tried later, for as long as it takes
/// restart policy says no ──► failed, or stopped after success
/// else ──► backoff ──► restart, or failed: crash loop
/// ```
enum LaunchVerdict: Sendable, Equatable {
    case restart(after: Duration, BotReason, String)
    /// No process came to be, which is no fault of the bot's and may pass.
    case tryLater(String)
    case failed(BotReason, String)
    /// It ended well and is not meant to be started again.
    case completed(String)

    /// - Parameters:
    ///   - record: of the bot whose launch ended; its count of quick ends is updated.
    ///   - livenessProblem: why the agent itself ended the launch, where it did.
    static func judge(
        _ record: inout BotRecord,
        policy: RestartPolicy,
        backoff: RestartBackoff,
        livenessProblem: String? = nil
    ) -> LaunchVerdict {
        let exit = record.lastExit.flatMap { $0.launchID == record.launch?.launchID ? $0 : nil }
        if let fatal = record.launch?.fatal { return .failed(.fatal, "the bot reported a fatal problem: \(fatal)") }
        let description = livenessProblem ?? exit?.description ?? "it ended"
        if record.isFound == true { return .failed(.recordLost, "\(description); \(BotRecord.lostNotice)") }
        if let survivors = record.survivors { return .failed(.notEnded, survivors) }
        if let problem = exit?.launchError {
            let isLeftAtThat = record.leaseMilliseconds != nil || policy == .never
            return isLeftAtThat ? .failed(.launchFailed, problem) : .tryLater(problem)
        }
        if record.leaseMilliseconds != nil {
            return .failed(.trialEnded, "it ended before its deployment was committed: \(description)")
        }
        if let exit, exit.isExit(with: RestartPolicy.configurationExitCode) {
            return .failed(.setUpWrong, "its set-up is wrong: \(description)")
        }
        // Asked to end although it is meant to run: by the agent, or with the whole machine. That is no success.
        let isSuccess = livenessProblem == nil && exit.map { $0.isExit(with: 0) && !$0.wasRequested } ?? false
        guard policy.restarts(afterSuccess: isSuccess) else {
            let rule = "it is not started again, because the restart policy is \"\(policy.rawValue)\""
            return isSuccess
                ? .completed("\(description); \(rule)") : .failed(.notRestarted, "\(description); \(rule)")
        }
        if let exit, exit.isLost, livenessProblem == nil {
            // Nobody knows how long it lived, and the bot is not to blame.
            let delay = backoff.firstDelay
            return .restart(after: delay, .supervisorLost, "\(description); starting again in \(delay)")
        }
        if let exit, exit.wasRequested, livenessProblem == nil {
            // With its machine, or by hand past the agent. However often that happens, it is no fault of the bot.
            let delay = backoff.firstDelay
            return .restart(after: delay, .exited, "\(description) when it was stopped; starting again in \(delay)")
        }
        let lifetime = Duration.milliseconds(clamping: exit?.lifetimeMilliseconds ?? 0)
        switch backoff.decide(quickEnds: &record.quickFailures, lifetime: lifetime) {
        case .giveUp:
            return .failed(
                .crashLoop,
                "crash loop: it ended \(record.quickFailures) times in a row; last time it \(description)"
            )
        case .restart(let delay):
            let reason: BotReason =
                livenessProblem != nil ? .livenessFailed : exit?.isOutOfMemory == true ? .outOfMemory : .exited
            return .restart(after: delay, reason, "\(description); starting again in \(delay)")
        }
    }
}

extension BotRecord.Exit {
    func isExit(with code: Int32) -> Bool {
        signal == 0 && !isLost && launchError == nil && self.code == code
    }

    /// The kernel killed the bot's own process for memory.
    var isOutOfMemory: Bool { signal == 9 && (memoryKills ?? 0) > 0 }

    /// In words, for a status, with the last lines of stderr.
    var description: String {
        let lines = lastStderr.split(separator: "\n").suffix(5).joined(separator: " | ")
        return lines.isEmpty ? summary : "\(summary), last on stderr: \(lines)"
    }
}
