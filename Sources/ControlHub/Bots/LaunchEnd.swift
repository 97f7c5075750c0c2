import WireFormat

/// Why the turns of a launch were cut off, by what the node says of the bot afterwards. Pure.
///
/// What the node says is of the bot as it is now: often of the launch that came next. Only what it says of the launch that had
/// the message tells how that ended.
enum LaunchEnd {
    /// - Parameter launch: the one that had the message; empty where that is not known.
    static func reason(ofLaunch launch: String, after status: WireBotStatus) -> String {
        let begin = "The bot stopped before it answered"
        let isOfThisLaunch = launch.isEmpty || status.launchID.isEmpty || status.launchID == launch
        let exit =
            status.hasLastExit && !launch.isEmpty && status.lastExit.launchID == launch
            ? words(for: status.lastExit) : nil
        if status.phase.isDown, isOfThisLaunch, exit == nil || !isOfNextStart(status) {
            return status.reason.isEmpty ? "\(begin)." : "\(begin): \(status.reason)"
        }
        if let exit { return "\(begin): it \(exit)." }
        return "\(begin), and has been started anew. How it ended is not known here any more; its log may tell."
    }

    /// Whether the reason of the bot's state is that the next launch does not come to be.
    private static func isOfNextStart(_ status: WireBotStatus) -> Bool {
        [
            "waiting_for_start", "engine_unavailable", "pull_failed", "spawn_failed", "program_unavailable",
            "storage_failed", "launch_failed", "image_missing", "pull_refused", "files_missing",
        ].contains(status.reasonCode)
    }

    /// In the words of the node's own reasons.
    private static func words(for exit: WireExitStatus) -> String {
        let lines = exit.lastStderr.split(separator: "\n").suffix(5).joined(separator: " | ")
        let said = lines.isEmpty ? "" : ", last on stderr: \(lines)"
        if exit.lost { return "was ended because its supervisor had died\(said)" }
        if exit.outOfMemory { return "used more memory than it may and was killed by the kernel\(said)" }
        let end = exit.signal != 0 ? "ended by signal \(exit.signal)" : "exited with status \(exit.code)"
        return exit.requested ? "was asked to stop, and \(end)" : end + said
    }
}
