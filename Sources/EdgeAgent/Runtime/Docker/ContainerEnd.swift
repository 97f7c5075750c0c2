import Glibc

/// How a container ended, in the words of a launch's last record.
enum ContainerEnd {
    /// - Parameters:
    ///   - state: nil where the container is gone, so that its exit status is not known.
    ///   - wasKilled: the agent sent SIGKILL.
    static func event(
        launchID: String,
        state: EngineModels.Container.State?,
        isRequested: Bool,
        wasKilled: Bool,
        lastStderr: [UInt8]
    ) -> SupervisorEvent {
        var event = SupervisorEvent(event: SupervisorEvent.Name.exited)
        event.launchID = launchID
        event.code = 0
        event.signal = 0
        event.requested = isRequested
        event.lastStderr = String(decoding: lastStderr, as: UTF8.self)
        guard let state, state.status != "created" else {
            event.lost = true
            return event
        }
        event.code = state.exitCode ?? 0
        let isOutOfMemory = state.oomKilled ?? false
        if event.code == 128 + SIGKILL, isOutOfMemory || wasKilled {
            // Only here is it sure that a signal is meant: a program may as well exit with such a status.
            event.code = 0
            event.signal = SIGKILL
        }
        if isOutOfMemory { event.memoryKills = 1 }
        event.launchError = launchError(state, lastStderr)
        if let started = milliseconds(state.startedAt), let finished = milliseconds(state.finishedAt) {
            event.lifetimeMilliseconds = finished > started ? finished - started : 0
        }
        return event
    }

    /// Why the bot's program was not executed at all. With an init as first process the container itself started well, and
    /// the init says so in its last words.
    private static func launchError(_ state: EngineModels.Container.State, _ lastStderr: [UInt8]) -> String? {
        guard state.exitCode == 126 || state.exitCode == 127 else { return nil }
        let last = String(decoding: lastStderr, as: UTF8.self).split(separator: "\n").last ?? ""
        guard last.hasPrefix("[FATAL tini"), let bracket = last.firstIndex(of: "]") else { return nil }
        let words = last[last.index(after: bracket)...].drop { $0 == " " }
        return "the container's command cannot be run: \(words); check the profile's command and what the image holds"
    }

    private static func milliseconds(_ text: String?) -> UInt64? {
        guard let text, let time = EngineLogDecoder.time(Array(text.utf8)[...]), time.tv_sec > 0 else { return nil }
        return UInt64(clamping: time.tv_sec) * 1_000 + UInt64(clamping: time.tv_nsec) / 1_000_000
    }
}
