import Foundation
import TestSupport
import Testing

@testable import ControlHub

@Suite("When a node may open a session")
struct AdmissionGateTests {
    private let clock = ManualClock()

    private func gate(_ settings: AdmissionGate.Settings = .init()) -> AdmissionGate {
        let clock = clock
        return AdmissionGate(
            settings,
            clock: HubClock(now: { clock.now }, date: { Date(timeIntervalSince1970: 0) }, sleep: { _ in })
        )
    }

    @Test("those who come at once go on up to the burst, and the others are told when")
    func burst() {
        let gate = gate(.init(handshakes: .init(ratePerSecond: 1, burst: 1)))
        #expect(gate.admit() == nil)
        #expect(gate.admit() == .seconds(1))
        #expect(gate.admit() == .seconds(2))
        #expect(gate.awayTime() == nil)
    }

    @Test("a node that comes back too often must wait, and no other")
    func pace() {
        let gate = gate(.init(sessionsPerNode: 2, sessionInterval: .seconds(5)))
        let (busy, calm) = (NodeID(rawValue: "a"), NodeID(rawValue: "b"))
        #expect(gate.pace(busy) == nil)
        #expect(gate.pace(busy) == nil)
        #expect(gate.pace(busy) == .seconds(5))
        #expect(gate.pace(calm) == nil)
        clock.advance(by: .seconds(5))
        #expect(gate.pace(busy) == nil)
    }

    @Test("a hub that goes away sends everybody off with a time")
    func drain() {
        let gate = gate()
        gate.drain()
        #expect(gate.awayTime() != nil)
        #expect(gate.admit() != nil)
    }
}
