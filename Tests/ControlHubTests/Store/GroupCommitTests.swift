import Foundation
import GRDB
import Testing

@testable import ControlHub

@Suite("What is acknowledged")
struct GroupCommitTests {
    @Test("is on disk: the connection that writes flushes with every commit")
    func flushes() async throws {
        let hub = try TestHub()
        // 2 is FULL. The readers write nothing.
        let level = try await hub.parts.database.write { try Int.fetchOne($0, sql: "PRAGMA synchronous") }
        #expect(level == 2)
    }

    @Test("is there whole or not at all, each by itself, however many are written at once")
    func apart() async throws {
        struct Refused: Error {}
        let database = try TestHub().parts.database
        try await database.write { try $0.execute(sql: "CREATE TABLE numbers (number INTEGER PRIMARY KEY) STRICT") }
        let refused = await withTaskGroup(of: Bool.self) { group in
            for number in 0..<500 {
                group.addTask {
                    do {
                        try await database.write { db in
                            try db.execute(sql: "INSERT INTO numbers VALUES (?)", arguments: [number])
                            // Each third one thinks better of it, and each fifth one breaks a rule of the table.
                            if number % 3 == 0 { throw Refused() }
                            if number % 5 == 0 {
                                try db.execute(sql: "INSERT INTO numbers VALUES (?)", arguments: [number])
                            }
                        }
                        return false
                    } catch {
                        return true
                    }
                }
            }
            return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        let expected = (0..<500).filter { $0 % 3 != 0 && $0 % 5 != 0 }
        let there = try await database.read { try Int.fetchAll($0, sql: "SELECT number FROM numbers ORDER BY number") }
        #expect(there == expected)
        #expect(refused == 500 - expected.count)
    }

    @Test("was answered only for what stays when the disk is full in the middle of a group")
    func fullDisk() async throws {
        let database = try TestHub().parts.database
        try await database.write { db in
            try db.execute(sql: "CREATE TABLE texts (number INTEGER PRIMARY KEY, text TEXT) STRICT")
            let pages = try Int.fetchOne(db, sql: "PRAGMA page_count") ?? 0
            // SQLite's own word for a full disk, without filling one.
            try db.execute(sql: "PRAGMA max_page_count = \(pages + 20)")
        }
        let text = String(repeating: "x", count: 3000)
        let answered = await withTaskGroup(of: Int?.self) { group in
            for number in 0..<100 {
                group.addTask {
                    do {
                        try await database.write {
                            try $0.execute(sql: "INSERT INTO texts VALUES (?, ?)", arguments: [number, text])
                        }
                        return number
                    } catch {
                        #expect((error as? HubError)?.code == .storageFull)
                        return nil
                    }
                }
            }
            return await group.reduce(into: [Int]()) { if let number = $1 { $0.append(number) } }
        }
        let there = try await database.read { try Int.fetchAll($0, sql: "SELECT number FROM texts ORDER BY number") }
        #expect(there == answered.sorted())
        #expect(there.count < 100)
    }
}
