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
        return find(stateDirectory: stateDirectory, isKnown ? values : nil, journalFailure: journalFailure)
    }

    /// - Parameter values: of the file system there; nil where it does not tell.
    static func find(
        stateDirectory: String,
        _ values: statvfs?,
        journalFailure: String? = nil
    ) -> [WireNodeProblem] {
        let space = values.map(DiskUsageReader.Space.init)
        if let values, values.f_flag & UInt(ST_RDONLY) != 0 {
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
        if let values, DiskShortage.hasNoFiles(values) {
            return [
                problem(
                    "disk_no_inodes",
                    "The file system of \(stateDirectory) has no inodes left (\(values.f_favail) of \(values.f_files) free), "
                        + "though it has space: running bots go on, but nothing can be started, stored or replaced that "
                        + "needs a new file. Delete files there (df -i shows how many it takes); nothing has to be restarted."
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
