import TestSupport
import Testing
import WireFormat

@testable import ControlHub

@Suite("Admission of handshakes")
struct AdmissionMachineTests {
    private let start = ContinuousClock.now

    @Test("a burst goes on at once, then the rate rules")
    func burst() {
        var machine = AdmissionMachine(.init(ratePerSecond: 10, burst: 3), now: start)
        let atOnce = (0..<5).map { _ in machine.admit(now: start) }
        #expect(atOnce == [true, true, true, false, false])
        let later = [99, 100, 150].map { machine.admit(now: start + .milliseconds($0)) }
        #expect(later == [false, true, false])
    }

    @Test("those turned away get places one after the other, and the queue shortens as time passes")
    func queue() {
        var random = SeededRandom(seed: 1)
        var machine = AdmissionMachine(.init(ratePerSecond: 2, burst: 1), now: start)
        let waits = (0..<6).map { _ in machine.nextTurn(now: start, using: &random) }
        #expect(waits == [1000, 1000, 1500, 2000, 2500, 3000].map { .milliseconds($0) })
        let soon = machine.nextTurn(now: start + .seconds(2), using: &random)
        #expect(soon == .milliseconds(1500))
        let muchLater = machine.nextTurn(now: start + .seconds(60), using: &random)
        #expect(muchLater == .seconds(1))
    }

    @Test("nobody is asked to wait longer than agents believe, and the rest is spread")
    func longest() {
        var random = SeededRandom(seed: 1)
        var machine = AdmissionMachine(.init(ratePerSecond: 1, burst: 1), now: start)
        let waits = (0..<2000).map { _ in machine.nextTurn(now: start, using: &random) }
        #expect(waits.allSatisfy { $0 <= .seconds(600) })
        #expect(waits.dropFirst(600).allSatisfy { $0 >= .seconds(300) })
        #expect(Set(waits.dropFirst(600)).count > 1000)
    }

    @Test("a rate of 0 admits all")
    func unlimited() {
        var machine = AdmissionMachine(.init(ratePerSecond: 0, burst: 1), now: start)
        let all = (0..<1000).map { _ in machine.admit(now: start) }
        #expect(all.allSatisfy { $0 })
    }

    @Test("a hub that goes away admits nobody")
    func draining() {
        var machine = AdmissionMachine(.init(), now: start)
        machine.drain()
        let isAdmitted = machine.admit(now: start)
        #expect(!isAdmitted)
    }

    @Test("ten thousand nodes that come back at once are a queue, not a storm", arguments: 1...3)
    func herd(seed: Int) {
        let nodes = 10_000
        let rate = 100
        var random = SeededRandom(seed: UInt64(seed))
        var machine = AdmissionMachine(.init(ratePerSecond: rate, burst: 200), now: start)
        var backoffs = Array(repeating: ReconnectBackoff(), count: nodes)
        // Whoever lost the hub finds out within a second.
        var tries: [(at: Duration, node: Int)] = (0..<nodes).map {
            (.milliseconds(Int64.random(in: 0...1000, using: &random)), $0)
        }
        var perSecond: [Int64: Int] = [:]
        var triesTotal = 0
        var lastAdmitted = Duration.zero
        var admitted = 0
        while !tries.isEmpty {
            tries.sort { $0.at > $1.at }
            // A second's worth at a time, in order.
            let end = (tries.last?.at ?? .zero) + .milliseconds(200)
            var later: [(at: Duration, node: Int)] = []
            while let next = tries.last, next.at < end {
                tries.removeLast()
                triesTotal += 1
                perSecond[next.at.components.seconds, default: 0] += 1
                let now = start + next.at
                if machine.admit(now: now) {
                    admitted += 1
                    lastAdmitted = max(lastAdmitted, next.at)
                } else {
                    let wait = machine.nextTurn(now: now, using: &random)
                    // As the header carries it.
                    let seconds = Duration.seconds((wait.milliseconds + 999) / 1000)
                    backoffs[next.node].connectionFailed(retryAfter: seconds)
                    later.append((next.at + backoffs[next.node].nextDelay(using: &random), next.node))
                }
            }
            tries += later
        }
        #expect(admitted == nodes)
        // After the first shock the hub sees hardly more than it takes.
        let afterShock = perSecond.filter { $0.key >= 3 }.map(\.value).max() ?? 0
        #expect(afterShock <= rate * 2, "\(afterShock) tries in one second")
        #expect(triesTotal <= nodes * 3, "\(triesTotal) tries")
        #expect(lastAdmitted < .seconds(nodes / rate + 90), "\(lastAdmitted)")
    }
}
