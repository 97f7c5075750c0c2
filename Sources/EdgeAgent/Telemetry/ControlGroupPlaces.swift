/// Where the control groups of a process lie: its own and all around it that can be seen, the innermost first.
///
/// Inside a container the mount shows the container's group as its top, so the outermost place is the container's limit;
/// on a host it is the slice or service the agent runs in.
struct ControlGroupPlaces: Equatable, Sendable {
    /// Version 2, with all of its controllers.
    var unified: [String] = []
    /// Version 1, by controller.
    var memory: [String] = []
    var cpu: [String] = []
    var cpuacct: [String] = []
    var pids: [String] = []
    var freezer: [String] = []

    /// No deeper nesting is followed.
    private static let maximumDepth = 32

    /// - Parameters:
    ///   - groups: `/proc/<pid>/cgroup`: `id:controllers:path`, the controllers empty for version 2.
    ///   - mounts: `/proc/<pid>/mountinfo`: `id parent device root mount_point options … - type source super_options`.
    init(groups: ArraySlice<UInt8>, mounts: ArraySlice<UInt8>) {
        var paths: [String: String] = [:]
        var lines = ByteCursor(groups)
        while let line = lines.line() {
            let parts = line.split(separator: UInt8(ascii: ":"), maxSplits: 2, omittingEmptySubsequences: false)
            guard parts.count == 3 else { continue }
            let path = String(decoding: parts[2], as: UTF8.self)
            for controller in parts[1].split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
                paths[String(decoding: controller, as: UTF8.self)] = path
            }
        }
        lines = ByteCursor(mounts)
        while let line = lines.line() {
            guard let mount = Mount(line) else { continue }
            if mount.isVersion2, unified.isEmpty, let path = paths[""] { unified = mount.places(of: path) }
            guard !mount.isVersion2 else { continue }
            let known: [(String, WritableKeyPath<Self, [String]>)] = [
                ("memory", \.memory), ("cpu", \.cpu), ("cpuacct", \.cpuacct), ("pids", \.pids), ("freezer", \.freezer),
            ]
            for (controller, place) in known
            where mount.controllers.contains(controller) && self[keyPath: place].isEmpty {
                if let path = paths[controller] { self[keyPath: place] = mount.places(of: path) }
            }
        }
    }

    private struct Mount {
        var root: String
        var point: String
        var isVersion2: Bool
        var controllers: Set<String>

        /// Nil for what is no mount of control groups.
        init?(_ line: ArraySlice<UInt8>) {
            let fields = line.split(separator: UInt8(ascii: " "))
            guard let dash = fields.firstIndex(where: { $0.elementsEqual("-".utf8) }), dash >= 6,
                fields.count > dash + 3
            else { return nil }
            let type = String(decoding: fields[dash + 1], as: UTF8.self)
            guard type == "cgroup2" || type == "cgroup" else { return nil }
            isVersion2 = type == "cgroup2"
            root = ProcMounts.unescaped(fields[3])
            point = ProcMounts.unescaped(fields[4])
            controllers = Set(String(decoding: fields[dash + 3], as: UTF8.self).split(separator: ",").map(String.init))
        }

        func places(of path: String) -> [String] {
            // A group outside of what is mounted here (another namespace's) is seen by its outermost place alone.
            var inside: Substring = ""
            if root == "/" {
                inside = path[...]
            } else if path == root || path.hasPrefix(root + "/") {
                inside = path.dropFirst(root.count)
            }
            guard !inside.hasPrefix("/..") else { return [point] }
            var parts = inside.split(separator: "/").prefix(ControlGroupPlaces.maximumDepth)
            var places: [String] = []
            while !parts.isEmpty {
                places.append(point + "/" + parts.joined(separator: "/"))
                parts.removeLast()
            }
            return places + [point]
        }
    }
}
