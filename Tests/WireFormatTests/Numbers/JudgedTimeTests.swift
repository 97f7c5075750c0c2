import TestSupport
import Testing

@testable import WireFormat

@Suite("Time by a clock that may be wrong")
struct JudgedTimeTests {
    private static let start: Int64 = 1_800_000_000_000
    private static let day: Int64 = 86_400_000
    private static let look: Int64 = 5_000

    /// A machine's two clocks, looked at every five seconds.
    private struct Machine {
        var judged: JudgedTime
        var sinceBoot: Int64 = 1_000
        /// What the wall clock is wrong by.
        var error: Int64 = 0
        var passed: Int64 = 0
        var steps: [JudgedTime.Step] = []
        var findings: [JudgedTime.Finding] = []

        init(
            _ mark: JudgedTime.Mark? = nil,
            bootID: String = "boot",
            sinceBoot: Int64 = 1_000,
            passed: Int64 = 0,
            error: Int64 = 0
        ) {
            (self.sinceBoot, self.passed, self.error) = (sinceBoot, passed, error)
            judged = JudgedTime(
                after: mark,
                sinceBoot: sinceBoot,
                bootID: bootID,
                wall: JudgedTimeTests.start + passed + error
            )
        }

        var truth: Int64 { JudgedTimeTests.start + passed }
        var time: Int64 { judged.time(sinceBoot: sinceBoot) }
        var horizon: Int64 { judged.horizon(sinceBoot: sinceBoot) }
        var mark: JudgedTime.Mark { judged.mark(sinceBoot: sinceBoot, bootID: "boot") }

        mutating func run(_ milliseconds: Int64) {
            for _ in 0..<milliseconds / JudgedTimeTests.look {
                sinceBoot += JudgedTimeTests.look
                passed += JudgedTimeTests.look
                let finding = judged.observe(sinceBoot: sinceBoot, wall: truth + error)
                if finding != .steady { findings.append(finding) }
                guard case .stays(let step) = finding else { continue }
                steps.append(step)
                judged.take(step)
            }
        }
    }

    @Test(
        "A clock that jumps and comes back within the trial changes nothing",
        arguments: [400 * day, -400 * day, 90_000]
    )
    func shortJump(by error: Int64) {
        var machine = Machine()
        machine.run(3_600_000)
        machine.error = error
        machine.run(JudgedTime.trial - 60_000)
        #expect(machine.time == machine.truth && machine.horizon == machine.truth)
        #expect(!machine.judged.isSettled(sinceBoot: machine.sinceBoot))
        machine.error = 0
        machine.run(3_600_000)
        #expect(machine.time == machine.truth && machine.steps.isEmpty)
        #expect(machine.findings == [.jumped(by: error), .isBack])
        #expect(machine.judged.isSettled(sinceBoot: machine.sinceBoot))
    }

    @Test("A clock that stays ahead is followed, makes nothing older than the time that passed, and is followed back")
    func ahead() {
        var machine = Machine()
        machine.run(3_600_000)
        machine.error = 400 * Self.day
        machine.run(3_600_000)
        #expect(machine.time == machine.truth + 400 * Self.day)
        // Since it was followed the horizon may have gained as much again.
        #expect(machine.horizon <= machine.truth + 3_600_000)
        machine.error = 0
        machine.run(3_600_000)
        #expect(machine.time == machine.truth && machine.horizon == machine.truth)
        #expect(machine.steps.map(\.by) == [400 * Self.day, -400 * Self.day])
        let undone = machine.steps.last?.undoes
        #expect(undone?.isStep == true && undone.map { $0.to - $0.from } == 400 * Self.day)
        #expect(machine.mark.leaps.isEmpty)
    }

    @Test("A clock that is put wrong, back, and right again undoes no jump, and nothing counts as old by it")
    func behind() {
        var machine = Machine()
        machine.run(3_600_000)
        machine.error = -700 * Self.day
        machine.run(2 * 3_600_000)
        #expect(machine.time == machine.truth - 700 * Self.day)
        machine.error = 0
        machine.run(3_600_000)
        #expect(machine.time == machine.truth)
        #expect(machine.horizon <= machine.truth && machine.horizon > machine.truth - 6 * 3_600_000)
        #expect(machine.steps.allSatisfy { $0.undoes == nil })
        machine.run(12 * 3_600_000)
        #expect(machine.horizon == machine.truth)
        #expect(machine.mark.leaps.isEmpty && machine.mark.fallen == 0)
    }

    @Test("Whatever a wall clock does, the horizon is never ahead of the time, nor gains more than what has passed")
    func horizonIsBounded() {
        for seed in 1...200 as ClosedRange<UInt64> {
            var random = SeededRandom(seed: seed)
            var machine = Machine()
            let began = machine.horizon
            var last = began
            for _ in 0..<60 {
                if Int.random(in: 0..<3, using: &random) == 0 {
                    machine.error =
                        [
                            0, Int64.random(in: -1000...1000, using: &random) * Self.day,
                            Int64.random(in: -200_000...200_000, using: &random),
                        ].randomElement(using: &random) ?? 0
                }
                machine.run(Int64.random(in: 1...400, using: &random) * Self.look)
                #expect(machine.horizon <= machine.time, "seed \(seed)")
                let age = machine.mark.horizon
                #expect(age >= last && age <= began + 2 * machine.passed, "seed \(seed)")
                last = age
            }
        }
    }

    @Test("Within one boot the time goes on exactly, however long nobody looked and whatever the wall clock says")
    func restart() {
        var before = Machine()
        before.run(3_600_000)
        for error in [0, 400 * Self.day, -400 * Self.day] {
            let after = Machine(
                before.mark,
                sinceBoot: before.sinceBoot + 50 * Self.day,
                passed: before.passed + 50 * Self.day,
                error: error
            )
            #expect(after.time == after.truth && after.horizon == after.truth)
            #expect(after.judged.isSettled(sinceBoot: after.sinceBoot))
        }
    }

    @Test(
        "After a boot the wall clock is believed where it names a time for which a machine is off; what was off makes nothing old"
    )
    func boot() {
        var before = Machine()
        before.run(3_600_000)
        let seen = before.truth
        var after = Machine(before.mark, bootID: "next", passed: before.passed + 3 * Self.day)
        #expect(after.time == after.truth && after.horizon == seen)
        #expect(!after.judged.isSettled(sinceBoot: after.sinceBoot))
        after.run(JudgedTime.trial)
        #expect(after.judged.isSettled(sinceBoot: after.sinceBoot) && after.steps.isEmpty)
        after.run(3 * Self.day)
        #expect(after.horizon == after.truth)
        // It was not off, but wrong: what it did since is undone.
        var wrong = Machine(before.mark, bootID: "next", passed: before.passed, error: 20 * Self.day)
        wrong.run(3_600_000)
        wrong.error = 0
        wrong.run(3_600_000)
        #expect(wrong.time == wrong.truth)
        #expect(wrong.steps.map(\.by) == [-20 * Self.day] && wrong.steps.first?.undoes?.isStep == false)
    }

    @Test(
        "A clock that begins before the last time seen, or long after it, is a jump",
        arguments: [-400 * day, 400 * day]
    )
    func bootInAnotherYear(error: Int64) {
        var before = Machine()
        before.run(3_600_000)
        var after = Machine(before.mark, bootID: "next", passed: before.passed, error: error)
        #expect(after.time == after.truth && after.horizon == after.truth)
        after.run(60_000)
        after.error = 0
        after.run(3_600_000)
        #expect(after.time == after.truth && after.steps.isEmpty)
    }

    @Test("What is written down comes back, and what is none is none")
    func marks() throws {
        var machine = Machine()
        machine.run(600_000)
        machine.error = 400 * Self.day
        machine.run(3_600_000)
        let mark = machine.mark
        #expect(mark.leaps.count == 1 && JudgedTime.Mark(mark.text) == mark)
        var off = mark
        off.leaps.append(JudgedTime.Leap(from: 1, to: 2, isStep: false))
        #expect(JudgedTime.Mark(off.text) == off)
        for text in ["", "1 2 3", "1 2 x boot 0", "1 2 3 boot", "1 2 3 boot 0 5", "1 2 3 boot 0 5>", "-1 2 3 boot 0"] {
            #expect(JudgedTime.Mark(text) == nil, "\(text)")
        }
        #expect(JudgedTime.Mark("\(Int64.max) 2 3 boot 0") == nil)
    }
}
