import Testing

@testable import EdgeAgent

@Suite struct RestartPolicyTests {
    @Test("Restarts wait longer each time, a long life starts again, five quick ends are enough")
    func backoff() {
        let backoff = RestartBackoff()
        var ends = 0
        var decisions: [RestartBackoff.Decision] = []
        for _ in 0..<5 { decisions.append(backoff.decide(quickEnds: &ends, lifetime: .seconds(1))) }
        let expected: [RestartBackoff.Decision] = [1, 2, 4, 8].map { .restart(after: .seconds($0)) } + [.giveUp]
        #expect(decisions == expected)
        ends = 4
        #expect(backoff.decide(quickEnds: &ends, lifetime: .seconds(61)) == .restart(after: .seconds(1)))
    }

    @Test(
        "The policy says after which ends a bot is started again",
        arguments: [
            (RestartPolicy.never, false, false), (.onFailure, false, true), (.always, true, true),
        ]
    )
    func policies(_ policy: RestartPolicy, _ afterSuccess: Bool, _ afterFailure: Bool) {
        #expect(policy.restarts(afterSuccess: true) == afterSuccess)
        #expect(policy.restarts(afterSuccess: false) == afterFailure)
    }
}
