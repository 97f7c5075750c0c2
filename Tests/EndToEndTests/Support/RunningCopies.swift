import Foundation
import Synchronization

/// Watches how many copies of a bot run at the same time, by the command lines of the machine's processes.
final class RunningCopies: Sendable {
    private let folder: String
    private let state = Mutex((most: 0, isOver: false, sight: ""))

    /// - Parameter folder: under which the state directories of all nodes lie.
    init(in folder: URL) {
        self.folder = folder.path
        let thread = Thread { [weak self] in
            while let self, !self.state.withLock(\.isOver) {
                self.look()
                Thread.sleep(forTimeInterval: 0.03)  // allow-sleep: processes give no signal to wait for
            }
        }
        thread.start()
    }

    deinit {
        state.withLock { $0.isOver = true }
    }

    private func look() {
        let found = Self.processes(in: folder)
        state.withLock { state in
            guard found.count > state.most else { return }
            state.most = found.count
            state.sight = found.map { "\($0.pid): \($0.line)" }.joined(separator: "\n")
        }
    }

    /// The most that were seen at once since the last call, and what was seen.
    func takeMost() -> (count: Int, sight: String) {
        look()
        return state.withLock { state in
            defer { (state.most, state.sight) = (0, "") }
            return (state.most, state.sight)
        }
    }

    /// The sample bots that have a path in their command line.
    static func processes(in folder: String) -> [(pid: Int32, line: String)] {
        let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return all.compactMap { Int32($0) }.compactMap { pid in
            // One that has ended meanwhile has no command line any more.
            guard let line = try? String(contentsOfFile: "/proc/\(pid)/cmdline", encoding: .utf8),
                line.contains("samples/bot/sample-bot"), line.contains(folder + "/"),
                // Not a launcher before it has become the interpreter, nor what such a one runs on the way.
                let program = line.split(separator: "\0").first,
                program.split(separator: "/").last?.hasPrefix("python") == true
            else { return nil }
            return (pid, line.replacingOccurrences(of: "\0", with: " "))
        }
    }
}
