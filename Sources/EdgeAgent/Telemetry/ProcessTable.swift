import Glibc

/// All processes of the node at about one moment.
struct ProcessTable {
    /// More are not read; the kernel's own limit on a large machine is 4 million, an edge node has hundreds.
    static let maximumProcesses = 65_536

    private(set) var processes: [ProcPidStat] = []

    private let directoryPath: String
    private var reader = SmallFileReader()

    init(paths: SystemPaths = SystemPaths()) {
        directoryPath = paths.proc
    }

    /// Reads every `/proc/<pid>/stat`. A process that ends meanwhile is passed over.
    /// - Throws: `unreadable` where the folder cannot be listed.
    mutating func refresh() throws(TelemetryError) {
        processes.removeAll(keepingCapacity: true)
        guard let directory = opendir(directoryPath) else {
            let reason = String(cString: strerror(errno))
            throw TelemetryError(code: .unreadable, file: directoryPath, message: "it cannot be listed: \(reason)")
        }
        defer { closedir(directory) }
        let descriptor = dirfd(directory)
        while processes.count < Self.maximumProcesses, let entry = readdir(directory) {
            // d_name is as long as the entry needs and may end before the array Swift sees, so it is not copied whole.
            guard let offset = MemoryLayout<dirent>.offset(of: \dirent.d_name) else { return }
            let name = UnsafeRawPointer(entry).advanced(by: offset).assumingMemoryBound(to: CChar.self)
            guard name.pointee >= CChar(bitPattern: UInt8(ascii: "0")),
                name.pointee <= CChar(bitPattern: UInt8(ascii: "9"))
            else { continue }
            // Short enough for Swift to keep without allocating.
            let path = "\(String(cString: name))/stat"
            do {
                processes.append(try ProcPidStat(parsing: reader.read(path, in: descriptor)))
            } catch {
                // It has ended between the listing and the reading, which is no problem to report.
                continue
            }
        }
    }
}
