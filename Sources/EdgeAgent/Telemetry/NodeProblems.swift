import Glibc
import WireFormat

/// What keeps this agent from doing all it should, for the hub and for `edge-agent status`.
enum NodeProblems {
    /// With less, neither a transaction of the journal nor a record of a log is sure to find room.
    static let neededBytes: UInt64 = 1 << 20

    /// What is wrong where the agent keeps its files.
    ///
    /// - Parameter journalFailure: why packets could not be stored just now; nil where they can.
    static func find(stateDirectory: String, journalFailure: String? = nil) -> [WireNodeProblem] {
        var values = statvfs()
        let isKnown = statvfs(stateDirectory, &values) == 0
        let space = isKnown ? DiskUsageReader.spaceOfFileSystem(at: stateDirectory) : nil
        if isKnown, values.f_flag & UInt(ST_RDONLY) != 0 {
            return [
                problem(
                    "disk_read_only",
                    "The file system of \(stateDirectory) is read-only: bots go on, but what they write is dropped, and "
                        + "commands fail. Look for disk errors in the system's log, repair it and mount it writable again."
                )
            ]
        }
        if let space, space.availableBytes < neededBytes {
            return [
                problem(
                    "disk_full",
                    "The disk of \(stateDirectory) is full (\(space.availableBytes / 1024) KiB of "
                        + "\(space.totalBytes >> 20) MiB free): bots go on, but what they write now is dropped, and commands "
                        + "fail. Free space there; nothing has to be restarted, and what was lost is told."
                )
            ]
        }
        guard let journalFailure else { return [] }
        return [
            problem(
                "journal_failing",
                "The journal in \(stateDirectory) cannot be written (\(journalFailure)): packets wait in the bots' logs, and "
                    + "commands fail. Look at that disk; the agent tries again by itself."
            )
        ]
    }

    private static func problem(_ code: String, _ message: String) -> WireNodeProblem {
        var problem = WireNodeProblem()
        problem.code = code
        problem.message = message
        return problem
    }
}
