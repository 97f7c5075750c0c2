import Testing

@testable import ControlHub

@Suite("Two machines with one identity")
struct IdentityPolicyTests {
    private let policy = IdentityPolicy()

    private func machine(_ fingerprint: String, _ boot: String) -> MachineWitness {
        MachineWitness(fingerprint: fingerprint, bootID: boot, hostName: "host \(fingerprint)\(boot)")
    }

    /// Who dials, who is there and was heard, who was there before, and what is decided.
    struct Case: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let newcomer: (String, String)
        let present: (String, String)?
        var earlier: [(String, String)] = []
        let isAdmitted: Bool
    }

    @Test(
        "are told from one that restarts, moves or has nothing to show",
        arguments: [
            Case(testDescription: "the first session", newcomer: ("a", "1"), present: nil, isAdmitted: true),
            Case(
                testDescription: "the same boot, over another connection",
                newcomer: ("a", "1"),
                present: ("a", "1"),
                isAdmitted: true
            ),
            Case(
                testDescription: "rebooted, the old connection not noticed dead yet",
                newcomer: ("a", "2"),
                present: ("a", "1"),
                isAdmitted: true
            ),
            Case(
                testDescription: "another machine while the first is heard",
                newcomer: ("b", "9"),
                present: ("a", "1"),
                isAdmitted: false
            ),
            Case(
                testDescription: "another machine while nobody is heard: the disk moved",
                newcomer: ("b", "9"),
                present: nil,
                earlier: [("a", "1")],
                isAdmitted: true
            ),
            Case(
                testDescription: "a clone with the same machine id: back to a boot that another followed",
                newcomer: ("a", "1"),
                present: ("a", "2"),
                earlier: [("a", "1")],
                isAdmitted: false
            ),
            Case(
                testDescription: "the same, but the other is gone",
                newcomer: ("a", "1"),
                present: nil,
                earlier: [("a", "1"), ("a", "2")],
                isAdmitted: true
            ),
            Case(
                testDescription: "one more reboot after others",
                newcomer: ("a", "3"),
                present: ("a", "2"),
                earlier: [("a", "1")],
                isAdmitted: true
            ),
            Case(
                testDescription: "a machine that shows nothing",
                newcomer: ("", ""),
                present: ("a", "1"),
                earlier: [("", "")],
                isAdmitted: true
            ),
            Case(
                testDescription: "another machine where the present one shows nothing",
                newcomer: ("b", "1"),
                present: ("", ""),
                isAdmitted: true
            ),
        ]
    )
    func table(_ one: Case) {
        let verdict = policy.judge(
            machine(one.newcomer.0, one.newcomer.1),
            present: one.present.map { machine($0.0, $0.1) },
            earlier: one.earlier.map { machine($0.0, $0.1) }
        )
        #expect((verdict == .admit) == one.isAdmitted, "\(verdict)")
    }

    @Test("the evidence names both machines and what to do")
    func evidence() {
        guard
            case .quarantine(let reason) = policy.judge(
                MachineWitness(fingerprint: "b", hostName: "attic", remoteAddress: "203.0.113.7"),
                present: MachineWitness(fingerprint: "a", hostName: "cellar", remoteAddress: "203.0.113.8"),
                earlier: []
            )
        else {
            Issue.record("admitted")
            return
        }
        #expect(reason.contains("attic (203.0.113.7)") && reason.contains("cellar (203.0.113.8)"))
        #expect(reason.hasSuffix("Pair the clone anew, or stop the other agent."))
    }

    @Test("boots are remembered once each, the latest few of them")
    func history() {
        var earlier: [MachineWitness] = []
        var present: MachineWitness?
        for number in 0..<20 {
            let next = machine("a", "\(number / 2)")
            earlier = policy.history(earlier, present: present, newcomer: next)
            present = next
        }
        #expect(earlier.map(\.bootID) == ["1", "2", "3", "4", "5", "6", "7", "8"])
    }
}
