import Foundation
import WireFormat

@testable import ControlHub

/// What time the hub goes by.
///
/// Stands in for `JudgedClock` and `ClockKeeper`, which ask the machine's clocks and sleep; the judgement is `JudgedTime`, what moves
/// with the time is `ClockStore`.
final class HubTime {
    private static let period: Microseconds = .seconds(5)
    private static let roundsPerMark = 12
    /// The hub's machine is not rebooted.
    private static let bootID = "boot-hub"

    private unowned let hub: HubProcess
    private var judged: JudgedTime
    private var rounds = 0
    private var late: ClockStore.Latecomers?
    /// A step is being carried out.
    private var isBusy = false

    private var simulation: Simulation { hub.simulation }
    private var sinceBoot: Int64 { simulation.world.now / 1000 }
    private var wall: Int64 { Int64(clamping: simulation.hubWall.unixMilliseconds(simulation.world)) }

    init(_ hub: HubProcess) {
        self.hub = hub
        let (simulation, stored) = (hub.simulation, hub.simulation.record.clock())
        judged = JudgedTime(
            after: stored.mark,
            newest: stored.newest,
            sinceBoot: simulation.world.now / 1000,
            bootID: Self.bootID,
            wall: Int64(clamping: simulation.hubWall.unixMilliseconds(simulation.world)),
            trial: simulation.plan.clockTrial / 1000
        )
    }

    var date: Date {
        Date(unixMilliseconds: simulation.has(.believesClock) ? wall : judged.time(sinceBoot: sinceBoot))
    }

    var isSettled: Bool { judged.isSettled(sinceBoot: sinceBoot) }

    private func mark(after step: JudgedTime.Step? = nil) -> JudgedTime.Mark {
        var judged = judged
        if let step { judged.take(step) }
        return judged.mark(sinceBoot: sinceBoot, bootID: Self.bootID)
    }

    func run() {
        round()
        hub.later(Self.period) { $0.time.run() }
    }

    private func round() {
        guard !isBusy else { return }
        if let late {
            self.late = nil
            hub.write {
                $0.carry(late)
            } then: { _ in
            }
        }
        if case .stays(let step) = judged.observe(sinceBoot: sinceBoot, wall: wall) {
            simulation.world.note("the hub sets its time by \(step.by / 1000) s", 33, Int(clamping: step.by / 1000))
            let (mark, date) = (mark(after: step), date)
            isBusy = true
            hub.write {
                $0.carry(step, mark, at: date)
            } then: { [weak self] late in
                guard let self else { return }
                self.judged.take(step)
                self.simulation.checker.clockSetAt = self.simulation.world.now
                (self.late, self.isBusy) = (late, false)
            }
            return
        }
        defer { rounds = (rounds + 1) % Self.roundsPerMark }
        guard rounds == 0 else { return }
        let mark = mark()
        hub.write {
            $0.save(mark)
        } then: { _ in
        }
    }
}
