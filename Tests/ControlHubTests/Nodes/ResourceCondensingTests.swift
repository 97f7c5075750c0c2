import Foundation
import GRDB
import Synchronization
import TestSupport
import Testing

@testable import ControlHub

/// Means are made of all nodes, and others write meanwhile.
@Suite("Means of resources", .timeLimit(.minutes(2)))
struct ResourceCondensingTests {
    private let hub: TestHub
    private let store: ResourceStore
    private static let nodeCount = 45

    init() throws {
        hub = try TestHub()
        store = ResourceStore(database: hub.parts.database)
    }

    /// Counts the means that are made in each transaction.
    private final class Transactions: Sendable {
        private let state = Mutex<(open: Int, all: [Int])>((0, []))

        /// Of each transaction that made some, of how many nodes and steps.
        var all: [Int] { state.withLock { $0.all } }

        func note(_ sql: String) {
            state.withLock { state in
                if sql.contains("INSERT OR REPLACE INTO resource_samples") { state.open += 1 }
                guard sql.hasPrefix("COMMIT"), state.open > 0 else { return }
                state.all.append(state.open)
                state.open = 0
            }
        }
    }

    /// Nodes with a sample each half minute of the hour that has just gone by.
    private func fill() async throws -> [NodeID] {
        var nodes: [NodeID] = []
        for number in 0..<Self.nodeCount {
            nodes.append(try await hub.parts.nodes.create(name: "node-\(number)", by: .hub).id)
        }
        for step in 0..<120 {
            try await store.add(nodes.map { ($0, ResourceSample(at: hub.now.addingTimeInterval(Double(step) * 30))) })
        }
        hub.clock.advance(by: .seconds(3600))
        return nodes
    }

    private func condense() async throws { try await store.condense(at: hub.now, horizon: hub.now) }

    private func means() async throws -> [NodeID: Int] {
        try await hub.parts.database.read { db in
            let rows = try Row.fetchAll(
                db,
                sql: "SELECT node_id, count(*) AS n FROM resource_samples WHERE step = 300 GROUP BY node_id"
            )
            return Dictionary(uniqueKeysWithValues: rows.map { (NodeID(rawValue: $0["node_id"]), $0["n"] as Int) })
        }
    }

    @Test("are made of a few nodes at a time, so that others write in between, and then of all")
    func turns() async throws {
        let nodes = try await fill()
        let transactions = Transactions()
        try await hub.parts.database.write { db in
            db.trace(options: .statement) { event in
                if case .statement(let statement) = event { transactions.note(statement.sql) }
            }
        }
        try await condense()
        // Of five minutes and of the hour.
        #expect(transactions.all.reduce(0, +) == nodes.count * 2)
        #expect(transactions.all.max() == ResourceStore.nodesEach * 2)
        #expect(try await means() == Dictionary(uniqueKeysWithValues: nodes.map { ($0, 12) }))
        #expect(try await store.count(.hour) == nodes.count)
        // Nothing has ended since.
        try await condense()
        #expect(transactions.all.reduce(0, +) == nodes.count * 2)
    }

    @Test("are made up where the hub ended in the middle of them")
    func interrupted() async throws {
        let nodes = try await fill()
        let half = nodes.sorted { $0.rawValue < $1.rawValue }[nodes.count / 2].rawValue
        try await hub.parts.database.write { db in
            try db.execute(
                sql: """
                    CREATE TEMP TRIGGER stop BEFORE INSERT ON main.resource_samples WHEN new.node_id = '\(half)'
                    BEGIN SELECT RAISE(ABORT, 'no more'); END
                    """
            )
        }
        await #expect(throws: (any Error).self) { try await condense() }
        try await hub.parts.database.write { db in try db.execute(sql: "DROP TRIGGER temp.stop") }
        let some = try await means().count
        #expect(some > 0 && some < nodes.count)
        try await condense()
        #expect(try await means() == Dictionary(uniqueKeysWithValues: nodes.map { ($0, 12) }))
        #expect(try await store.count(.hour) == nodes.count)
    }

    @Test("of one node come as far as its own, whatever time another's say", arguments: [-300.0, 0, 300, 86_400])
    func others(offset: Double) async throws {
        let nodes = try await fill()
        let at = hub.now.addingTimeInterval(offset).unixMilliseconds / 300_000 * 300_000
        try await hub.parts.database.write { db in
            try db.execute(
                sql: "INSERT INTO resource_samples (node_id, step, at) VALUES (?, 300, ?)",
                arguments: [nodes[7].rawValue, at]
            )
        }
        try await condense()
        let means = try await means()
        for node in nodes where node != nodes[7] { #expect(means[node] == 12) }
    }
}
