/// `/proc/self/mounts`: `device mount_point type options dump pass`, blanks inside a field written as `\040`.
struct ProcMounts: Equatable, Sendable {
    struct Mount: Equatable, Sendable {
        var device: String
        var mountPoint: String
        var fileSystem: String
    }

    /// More are not reported: enough for a storage server, and a bound on what a container host makes of it.
    static let maximumDisks = 32

    /// The mounts that hold data on this machine, by mount point, the root first.
    ///
    /// That is every block device, once, under its shortest mount point, and the root whatever it is made of. Left out
    /// are the kernel's own file systems, memory and overlays below the root, read-only images (snaps), and network
    /// file systems: these are not the node's disk, and asking one whose server is gone blocks.
    private(set) var disks: [Mount]

    /// Lines that are not understood are passed over.
    /// - Throws: `malformed` where nothing is mounted at all.
    init(parsing bytes: ArraySlice<UInt8>) throws(TelemetryError) {
        var lines = ByteCursor(bytes)
        var byMountPoint: [String: Mount] = [:]
        var anything = false
        while let line = lines.line() {
            var fields = ByteCursor(line)
            guard let device = fields.field(), let mountPoint = fields.field(), let type = fields.field() else {
                continue
            }
            anything = true
            let holdsDisk = Self.holdsDisk(device: device, type: type)
            let isRoot = mountPoint.elementsEqual("/".utf8) && !type.elementsEqual("rootfs".utf8)
            let path = Self.unescaped(mountPoint)
            // A later mount hides what an earlier one shows at the same place.
            byMountPoint[path] =
                holdsDisk || isRoot
                ? Mount(device: Self.unescaped(device), mountPoint: path, fileSystem: Self.unescaped(type)) : nil
        }
        guard anything else { throw .malformed("self/mounts", "it lists no mounts") }

        var byDevice: [String: Mount] = [:]
        for mount in byMountPoint.values {
            let device = Self.poolOrDevice(of: mount)
            guard let known = byDevice[device] else {
                byDevice[device] = mount
                continue
            }
            if Self.precedes(mount, known) { byDevice[device] = mount }
        }
        disks = Array(byDevice.values.sorted(by: Self.precedes).prefix(Self.maximumDisks))
    }

    private static func precedes(_ one: Mount, _ other: Mount) -> Bool {
        let (length, otherLength) = (one.mountPoint.utf8.count, other.mountPoint.utf8.count)
        return length == otherLength ? one.mountPoint < other.mountPoint : length < otherLength
    }

    private static func holdsDisk(device: ArraySlice<UInt8>, type: ArraySlice<UInt8>) -> Bool {
        if type.elementsEqual("zfs".utf8) { return true }
        guard device.starts(with: "/dev/".utf8) else { return false }
        // FUSE may be a network file system behind a local device; fuseblk is always a disk (NTFS, exFAT).
        if type.starts(with: "fuse".utf8) { return type.elementsEqual("fuseblk".utf8) }
        return !["squashfs", "iso9660", "erofs", "devtmpfs", "tmpfs"].contains { type.elementsEqual($0.utf8) }
    }

    /// The data sets of one ZFS pool share its space, so they count as one device.
    private static func poolOrDevice(of mount: Mount) -> String {
        guard mount.fileSystem == "zfs", let slash = mount.device.firstIndex(of: "/") else { return mount.device }
        return String(mount.device[..<slash])
    }

    /// Undoes the kernel's `\ooo` for blank, tab, newline, backslash and `#`.
    static func unescaped(_ field: ArraySlice<UInt8>) -> String {
        let backslash = UInt8(ascii: "\\")
        guard field.contains(backslash) else { return String(decoding: field, as: UTF8.self) }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(field.count)
        var rest = field
        while let byte = rest.popFirst() {
            let digits = rest.prefix(3)
            if byte == backslash, digits.count == 3, digits.allSatisfy({ $0 & 0xF8 == UInt8(ascii: "0") }),
                let value = UInt8(exactly: digits.reduce(0) { $0 * 8 + Int(clamping: $1 & 7) })
            {
                bytes.append(value)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
