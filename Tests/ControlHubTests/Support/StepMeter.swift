import CSQLite
import Synchronization

/// Counts the steps of SQLite's machine on one connection: what a statement costs, whatever else the machine does.
final class StepMeter: Sendable {
    private static let granularity: Int32 = 20
    private let count = Atomic<Int>(0)

    var steps: Int { count.load(ordering: .relaxed) * Int(Self.granularity) }

    func attach(_ connection: OpaquePointer?) {
        sqlite3_progress_handler(
            connection,
            Self.granularity,
            { meter in
                guard let meter else { return 0 }
                Unmanaged<StepMeter>.fromOpaque(meter).takeUnretainedValue().count.add(1, ordering: .relaxed)
                return 0
            },
            // Given back by nobody: the connection may call it for as long as it is open.
            Unmanaged.passRetained(self).toOpaque()
        )
    }

    func detach(_ connection: OpaquePointer?) { sqlite3_progress_handler(connection, 0, nil, nil) }
}
