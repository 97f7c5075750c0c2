import Foundation
import TestSupport
import Testing

@testable import ControlHub

@Suite("Who may open a session now")
struct AdmissionGateTests {
    private let clock = ManualClock()
    private let nat = ClientAddress(peer: "203.0.113.7", forwarded: [], proxies: [])

    private func gate(_ settings: AdmissionGate.Settings = .init()) -> AdmissionGate {
        let clock = clock
        return AdmissionGate(
            settings,
            clock: HubClock(now: { clock.now }, date: { Date(timeIntervalSince1970: 0) }, sleep: { _ in })
        )
    }

    @Test("one who is refused is told once when to come back")
    func turnAway() {
        let gate = gate(.init(handshakes: .init(ratePerSecond: 1, burst: 1)))
        #expect(gate.turnAway() == nil)
        #expect(gate.admit(token: "a", address: nat))
        #expect(!gate.admit(token: "b", address: nat))
        #expect(gate.turnAway() == .seconds(1))
        #expect(gate.turnAway() == nil)
    }

    @Test("an address that tries tokens is stopped, and its good neighbours are not")
    func guessing() {
        let gate = gate(.init(failuresPerAddress: 3, failureInterval: .seconds(2)))
        let other = ClientAddress(peer: "203.0.113.8", forwarded: [], proxies: [])
        gate.accepted(token: "neighbour")
        for number in 0..<3 {
            #expect(gate.admit(token: "guess \(number)", address: nat))
            gate.refused(token: "guess \(number)", address: nat)
        }
        #expect(!gate.admit(token: "guess 4", address: nat))
        #expect(gate.admit(token: "neighbour", address: nat))
        #expect(gate.admit(token: "guess 4", address: other))
        clock.advance(by: .seconds(2))
        #expect(gate.admit(token: "guess 5", address: nat))
    }

    @Test("a token that was withdrawn is a stranger's again")
    func withdrawn() {
        let gate = gate(.init(failuresPerAddress: 1, failureInterval: .seconds(60)))
        gate.accepted(token: "a")
        gate.refused(token: "a", address: nat)
        #expect(!gate.admit(token: "a", address: nat))
    }

    @Test("a proxy that names no clients is never stopped for one of them")
    func silentProxy() {
        let gate = gate(.init(failuresPerAddress: 1, failureInterval: .seconds(60)))
        let proxy = ClientAddress(peer: "127.0.0.1", forwarded: [], proxies: [])
        for number in 0..<10 {
            #expect(gate.admit(token: "\(number)", address: proxy))
            gate.refused(token: "\(number)", address: proxy)
        }
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
        #expect(!gate.admit(token: "a", address: nat))
        #expect(gate.turnAway() != nil)
    }
}
