import Glibc
import Testing

@testable import EdgeAgent

/// What follows each way in which a launch can end.
@Suite struct LaunchVerdictTests {
    private func record(
        code: Int32 = 0,
        signal: Int32 = 0,
        requested: Bool = false,
        lifetime: UInt64 = 1_000,
        change: (inout BotRecord) -> Void = { _ in }
    ) -> BotRecord {
        var record = BotRecord()
        record.launch = BotRecord.Launch(launchID: "l1")
        var event = SupervisorEvent(event: SupervisorEvent.Name.exited)
        (event.launchID, event.code, event.signal) = ("l1", code, signal)
        (event.requested, event.lifetimeMilliseconds) = (requested, lifetime)
        record.end(event, at: 1)
        change(&record)
        return record
    }

    private func judge(_ record: BotRecord, _ policy: RestartPolicy) -> LaunchVerdict {
        var record = record
        return LaunchVerdict.judge(&record, policy: policy, backoff: RestartBackoff())
    }

    private func reason(_ verdict: LaunchVerdict) -> BotReason? {
        switch verdict {
        case .restart(_, let reason, _), .failed(let reason, _): reason
        case .completed: .completed
        case .tryLater: nil
        }
    }

    @Test("Wrong set-ups are never tried again, whatever the policy", arguments: RestartPolicy.allCases)
    func permanent(_ policy: RestartPolicy) {
        #expect(reason(judge(record(code: 78), policy)) == .setUpWrong)
        #expect(reason(judge(record(code: 1) { $0.launch?.fatal = "no key" }, policy)) == .fatal)
    }

    @Test(
        "A launch that never came to be is tried later, unless the policy or a trial says no",
        arguments: RestartPolicy.allCases
    )
    func notLaunched(_ policy: RestartPolicy) {
        var record = record { $0.lastExit?.launchError = "no such file" }
        let expected: LaunchVerdict =
            policy == .never ? .failed(.launchFailed, "no such file") : .tryLater("no such file")
        #expect(judge(record, policy) == expected)
        record.leaseMilliseconds = 1_000
        #expect(judge(record, policy) == .failed(.launchFailed, "no such file"))
    }

    @Test("On trial nothing is started again, whatever the policy", arguments: RestartPolicy.allCases)
    func trial(_ policy: RestartPolicy) {
        for record in [record(), record(code: 1), record(signal: SIGKILL)] {
            var onTrial = record
            onTrial.leaseMilliseconds = 1_000
            #expect(reason(judge(onTrial, policy)) == .trialEnded)
        }
    }

    @Test("Success and failure are told apart as the policy says")
    func policies() {
        #expect(reason(judge(record(), .never)) == .completed)
        #expect(reason(judge(record(), .onFailure)) == .completed)
        #expect(reason(judge(record(), .always)) == .exited)
        #expect(reason(judge(record(code: 1), .never)) == .notRestarted)
        #expect(reason(judge(record(code: 1), .onFailure)) == .exited)
        #expect(reason(judge(record(signal: SIGSEGV), .onFailure)) == .exited)
        // The whole machine was stopped: the bot is meant to run, so it comes back.
        #expect(reason(judge(record(requested: true), .onFailure)) == .exited)
    }

    @Test("Being out of memory and being lost have words of their own")
    func causes() {
        let killed = record(signal: SIGKILL) { $0.lastExit?.memoryKills = 1 }
        #expect(reason(judge(killed, .always)) == .outOfMemory)
        #expect(reason(judge(record(signal: SIGKILL), .always)) == .exited)
        #expect(reason(judge(record { $0.lastExit?.isLost = true }, .onFailure)) == .supervisorLost)
        #expect(reason(judge(record { $0.lastExit?.isLost = true }, .never)) == .notRestarted)
    }

    @Test("A bot is not in a crash loop because its supervisor is killed again and again")
    func lostIsNoCrash() {
        var lost = record { $0.lastExit?.isLost = true }
        for _ in 0..<20 {
            let verdict = LaunchVerdict.judge(&lost, policy: .always, backoff: RestartBackoff())
            #expect(reason(verdict) == .supervisorLost)
        }
        var crashing = record(code: 1)
        for _ in 0..<4 {
            _ = LaunchVerdict.judge(&crashing, policy: .always, backoff: RestartBackoff())
        }
        #expect(reason(LaunchVerdict.judge(&crashing, policy: .always, backoff: RestartBackoff())) == .crashLoop)
    }

    @Test("Nor are bots that were stopped with their machine, however often it is started again")
    func stoppedIsNoCrash() {
        for code: Int32 in [0, 1] {
            var stopped = record(code: code) { $0.lastExit?.wasRequested = true }
            for _ in 0..<20 {
                let verdict = LaunchVerdict.judge(&stopped, policy: .onFailure, backoff: RestartBackoff())
                #expect(verdict.delay == RestartBackoff().firstDelay)
            }
        }
        var unwell = record(code: 0) { $0.lastExit?.wasRequested = true }
        for _ in 0..<4 {
            _ = LaunchVerdict.judge(&unwell, policy: .always, backoff: RestartBackoff(), livenessProblem: "unwell")
        }
        let last = LaunchVerdict.judge(&unwell, policy: .always, backoff: RestartBackoff(), livenessProblem: "unwell")
        #expect(reason(last) == .crashLoop)
    }

    @Test("The exit of an earlier launch says nothing about this one")
    func otherLaunch() {
        let stale = record(code: 78) { $0.launch = BotRecord.Launch(launchID: "l2") }
        #expect(reason(judge(stale, .always)) == .exited)
    }
}

extension LaunchVerdict {
    fileprivate var delay: Duration? {
        if case .restart(let delay, _, _) = self { delay } else { nil }
    }
}
