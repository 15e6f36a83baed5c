// A slice of the image, drawn by NiiVue, with the structure set's own polygons over it.
//
// NiiVue is given one slice at a time, windowed here: a whole volume would be turned into colours by the graphics
// processor again with every change of the window, which machines without one (remote desktops) need a minute for.
// Everything is in indices of the image's grid; a voxel's centre has whole indices.

const NII_HEADER_BYTES = 352;
const DT_RGBA32 = 2304;

export class Polygons {
  // table: (m, 4) ROI Number, z, first point, points; points: x, y of each.
  constructor(buffer) {
    const rows = new DataView(buffer).getInt32(0, true);
    this.table = new Int32Array(buffer, 4, rows * 4);
    this.points = new Float32Array(buffer, 4 + rows * 16);
    this.byRoi = new Map();
    for (let row = 0; row < rows; row++) {
      const [roi, z, first, count] = this.table.subarray(row * 4, row * 4 + 4);
      let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
      for (let i = first * 2; i < (first + count) * 2; i += 2) {
        left = Math.min(left, this.points[i]);
        right = Math.max(right, this.points[i]);
        top = Math.min(top, this.points[i + 1]);
        bottom = Math.max(bottom, this.points[i + 1]);
      }
      if (!this.byRoi.has(roi)) this.byRoi.set(roi, new Map());
      const slices = this.byRoi.get(roi);
      if (!slices.has(z)) slices.set(z, []);
      slices.get(z).push({ first, count, left, top, right, bottom });
    }
  }

  onSlice(roi, z) {
    return this.byRoi.get(roi)?.get(z) ?? [];
  }

  slicesOf(roi) {
    return [...(this.byRoi.get(roi)?.keys() ?? [])].sort((a, b) => a - b);
  }

  // Where the polygons of an ROI cross the plane y = at (axis 1) or x = at (axis 2): by slice, sorted, in pairs.
  crossings(roi, axis, at) {
    const found = new Map();
    const [across, along] = axis === 1 ? [1, 0] : [0, 1];
    for (const [z, polygons] of this.byRoi.get(roi) ?? []) {
      const here = [];
      for (const p of polygons) {
        const [low, high] = axis === 1 ? [p.top, p.bottom] : [p.left, p.right];
        if (at <= low || at > high) continue;
        let before = (p.first + p.count - 1) * 2;
        for (let i = p.first * 2; i < (p.first + p.count) * 2; i += 2) {
          const [a, b] = [this.points[before + across], this.points[i + across]];
          if (a < at !== b < at) {
            const part = (at - a) / (b - a);
            here.push(this.points[before + along] + part * (this.points[i + along] - this.points[before + along]));
          }
          before = i;
        }
      }
      if (here.length) found.set(z, here.sort((a, b) => a - b));
    }
    return found;
  }
}

// Grey values for each of the 65536 voxel values, as NiiVue takes colours (little endian: A B G R).
export function greyLookup(grid, [centre, width]) {
  const lookup = new Uint32Array(65536);
  for (let i = 0; i < 65536; i++) {
    const value = (i - 32768) * grid.slope + grid.intercept;
    const grey = Math.max(0, Math.min(255, Math.round(((value - centre) / width + 0.5) * 255)));
    lookup[i] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
  }
  return lookup;
}

export class SliceView {
  // `host` is the element to fill; `told` has functions for what happens in it.
  constructor(host, told) {
    this.host = host;
    this.told = told;
    host.replaceChildren();
    const box = host.appendChild(document.createElement("div"));
    box.className = "image";
    this.canvas = box.appendChild(document.createElement("canvas"));
    this.over = host.appendChild(document.createElement("canvas"));
    this.over.className = "over";
    // Where the other two views cut this one: elements, so that a step in one view draws nothing in the others.
    this.planes = ["across", "down"].map((way) => {
      const line = host.appendChild(document.createElement("div"));
      line.className = `plane ${way}`;
      return line;
    });
    this.texts = {};
    for (const place of ["title", "place", "left", "right", "top", "bottom"]) {
      this.texts[place] = host.appendChild(document.createElement("span"));
      this.texts[place].className = `text ${place}`;
    }
    this.image = null;
    this.zoom = [0, 0, 1]; // pan across, pan up, zoom
    this._listen();
  }

  async attach() {
    this.nv = new niivue.Niivue({
      interactive: false,
      dragAndDropEnabled: false,
      isOrientationTextVisible: false,
      crosshairWidth: 0,
      isAntiAlias: false,
      loadingText: "",
      logLevel: "error",
      sliceType: niivue.SLICE_TYPE.AXIAL,
    });
    await this.nv.attachToCanvas(this.canvas, false);
    new ResizeObserver(() => this.told.changed(this)).observe(this.host);
  }

  async open(scene, view, title) {
    this.scene = scene;
    this.view = view;
    const { shape_zyx: shape, spacing_zyx_mm: spacing } = scene.grid;
    [this.columns, this.rows] = [shape[view.across_axis], shape[view.down_axis]];
    [this.columnMm, this.rowMm] = [spacing[view.across_axis], spacing[view.down_axis]];
    this.pixels = new Uint32Array(this.columns * this.rows);
    const strides = [shape[1] * shape[2], shape[2], 1];
    this.step = strides[view.normal_axis];
    this.columnStep = strides[view.across_axis] * view.across_sign;
    // NiiVue's rows go upwards.
    this.rowStep = -strides[view.down_axis] * view.down_sign;
    this.start =
      (view.across_sign > 0 ? 0 : (this.columns - 1) * strides[view.across_axis]) +
      (view.down_sign > 0 ? (this.rows - 1) * strides[view.down_axis] : 0);
    this.zoom = [0, 0, 1];
    this.nv.scene.pan2Dxyzmm = [0, 0, 0, 1];
    this.traced = { index: -1, paths: new Map() };
    if (this.image) this.nv.removeVolume(this.image);
    const file = rgbaNifti(this.columns, this.rows, this.columnMm, this.rowMm, this._slice());
    this.image = await niivue.NVImage.new(file, "slice.nii", "gray", 1);
    this.nv.addVolume(this.image);
    this.texts.title.textContent = title;
    for (const side of ["left", "right", "top", "bottom"]) this.texts[side].textContent = view[side];
  }

  // Draws the slice at the scene's position and the contours over it; or less, where less has changed.
  draw({ image, contours }) {
    if (!this.image || !this.host.offsetWidth) return;
    const index = this.scene.position[this.view.normal_axis];
    if (image) {
      this.image.img = new Uint8Array(this._slice().buffer);
      this.nv.updateGLVolume();
      this.texts.place.textContent = `${index + 1} / ${this.scene.grid.shape_zyx[this.view.normal_axis]}`;
    }
    if (!this.nv.screenSlices.length) return;
    const map = this._mapping();
    if (image || contours) this._drawContours(map, index);
    this._placePlanes(map);
  }

  _slice() {
    const { voxels, lookup, position } = this.scene;
    const { columns, rows, columnStep, rowStep, pixels } = this;
    let line = this.start + position[this.view.normal_axis] * this.step;
    let to = 0;
    for (let row = 0; row < rows; row++) {
      let from = line;
      for (let column = 0; column < columns; column++) {
        pixels[to++] = lookup[voxels[from] + 32768];
        from += columnStep;
      }
      line += rowStep;
    }
    return pixels;
  }

  // Screen pixels of the overlay for an index across and an index down, as { x0, dx, y0, dy }.
  _mapping() {
    const tile = this.nv.screenSlices[0];
    const [left, top, width, height] = tile.leftTopWidthHeight;
    const [acrossMm, upMm] = [tile.leftTopMM, tile.fovMM];
    const dx = (this.columnMm / upMm[0]) * width;
    const dy = (this.rowMm / upMm[1]) * height;
    const x0 = left - (acrossMm[0] / upMm[0]) * width; // column 0
    const y0 = top + height + (acrossMm[1] / upMm[1]) * height - (this.rows - 1) * dy; // row 0, the topmost
    const { across_sign: across, down_sign: down } = this.view;
    return {
      x0: across > 0 ? x0 : x0 + (this.columns - 1) * dx,
      dx: across * dx,
      y0: down > 0 ? y0 : y0 + (this.rows - 1) * dy,
      dy: down * dy,
    };
  }

  _drawContours(map, index) {
    const { over, canvas } = this;
    if (over.width !== canvas.width || over.height !== canvas.height) {
      [over.width, over.height] = [canvas.width, canvas.height];
    }
    const context = over.getContext("2d");
    context.clearRect(0, 0, over.width, over.height);
    const dots = canvas.width / this.host.clientWidth;
    // Paths are kept in indices: what is drawn anew for the sake of a colour or a width is not traced anew.
    if (this.traced.index !== index) this.traced = { index, paths: new Map() };
    const { paths } = this.traced;
    const onScreen = new DOMMatrix([map.dx, 0, 0, map.dy, map.x0, map.y0]);
    context.lineJoin = "round";
    for (const structure of this.scene.structures) {
      if (!structure.visible) continue;
      const roi = structure.roi_number;
      if (!paths.has(roi)) paths.set(roi, this._trace(roi, index));
      const path = new Path2D();
      path.addPath(paths.get(roi), onScreen);
      context.strokeStyle = structure.color;
      context.lineWidth = (roi === this.scene.selected ? 2.6 : 1.4) * dots;
      context.stroke(path);
    }
  }

  _placePlanes(map) {
    const { across_axis: across, down_axis: down } = this.view;
    const dots = this.canvas.width / this.host.clientWidth;
    const [x, y] = [map.x0 + map.dx * this.scene.position[across], map.y0 + map.dy * this.scene.position[down]];
    this.planes[0].style.transform = `translateY(${y / dots}px)`;
    this.planes[1].style.transform = `translateX(${x / dots}px)`;
  }

  // An ROI's lines in this view, x across and y down in indices.
  _trace(roi, index) {
    const path = new Path2D();
    if (this.view.normal_axis === 0) this._traceSlice(path, roi, index);
    else this._traceCrossings(path, roi, index);
    return path;
  }

  _traceSlice(path, roi, z) {
    const { points } = this.scene.polygons;
    const [a, d] = this.view.across_axis === 1 ? [1, 0] : [0, 1]; // across the screen goes y, or x
    for (const polygon of this.scene.polygons.onSlice(roi, z)) {
      const first = polygon.first * 2;
      path.moveTo(points[first + a], points[first + d]);
      for (let i = first + 2; i < first + polygon.count * 2; i += 2) path.lineTo(points[i + a], points[i + d]);
      path.closePath();
    }
  }

  // The outline of the slabs that the polygons are in this plane: a slice is as thick as their distance.
  _traceCrossings(path, roi, index) {
    const crossings = this.scene.polygons.crossings(roi, this.view.normal_axis, index);
    const swap = this.view.across_axis === 0; // across the screen goes z
    const line = (t1, z1, t2, z2) => {
      const [a1, d1, a2, d2] = swap ? [z1, t1, z2, t2] : [t1, z1, t2, z2];
      path.moveTo(a1, d1);
      path.lineTo(a2, d2);
    };
    for (const [z, here] of crossings) {
      for (const t of here) line(t, z - 0.5, t, z + 0.5);
      if (!crossings.has(z - 1)) closeSlab(here, z - 0.5, line);
      closeSlab([...here, ...(crossings.get(z + 1) ?? [])].sort((a, b) => a - b), z + 0.5, line);
    }
  }

  // The indices (continuous) on the three axes that a place on the screen shows.
  indicesAt(event) {
    if (!this.image || !this.nv.screenSlices.length) return null;
    const box = this.over.getBoundingClientRect();
    const dots = this.canvas.width / box.width;
    const map = this._mapping();
    const indices = [...this.scene.position];
    indices[this.view.across_axis] = ((event.clientX - box.left) * dots - map.x0) / map.dx;
    indices[this.view.down_axis] = ((event.clientY - box.top) * dots - map.y0) / map.dy;
    return indices;
  }

  zoomBy(factor, event) {
    const [across, up, zoom] = this.zoom;
    const next = Math.max(1, Math.min(20, zoom * factor));
    if (next === 1) this.zoom = [0, 0, 1];
    else {
      // The place under the pointer stays: NiiVue shows (extent - pan) / zoom.
      const tile = this.nv.screenSlices[0];
      const [left, top, width, height] = tile.leftTopWidthHeight;
      const box = this.over.getBoundingClientRect();
      const dots = this.canvas.width / box.width;
      const x = tile.leftTopMM[0] + (((event.clientX - box.left) * dots - left) / width) * tile.fovMM[0];
      const y = tile.leftTopMM[1] + (1 - ((event.clientY - box.top) * dots - top) / height) * tile.fovMM[1];
      this.zoom = [across + x * (zoom - next), up + y * (zoom - next), next];
    }
    this._applyZoom();
  }

  panBy(dx, dy) {
    if (this.zoom[2] === 1) return;
    const tile = this.nv.screenSlices[0];
    const dots = this.canvas.width / this.host.clientWidth;
    const perPixel = (tile.fovMM[0] / tile.leftTopWidthHeight[2]) * dots * this.zoom[2];
    this.zoom = [this.zoom[0] + dx * perPixel, this.zoom[1] - dy * perPixel, this.zoom[2]];
    this._applyZoom();
  }

  _applyZoom() {
    this.nv.scene.pan2Dxyzmm = [this.zoom[0], this.zoom[1], 0, this.zoom[2]];
    this.nv.drawScene();
    this.draw({ contours: true });
  }

  _listen() {
    const { host, told } = this;
    let drag = null;
    host.addEventListener("contextmenu", (event) => event.preventDefault());
    host.addEventListener("pointerdown", (event) => {
      const kind = event.button === 2 ? "window" : event.button === 1 || event.shiftKey ? "pan" : "place";
      drag = { kind, x: event.clientX, y: event.clientY };
      host.setPointerCapture(event.pointerId);
      if (kind === "place") told.placed(this.indicesAt(event));
      event.preventDefault();
    });
    host.addEventListener("pointermove", (event) => {
      told.hovered(this.indicesAt(event));
      if (!drag) return;
      const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
      [drag.x, drag.y] = [event.clientX, event.clientY];
      if (drag.kind === "place") told.placed(this.indicesAt(event));
      else if (drag.kind === "pan") this.panBy(dx, dy);
      else told.windowed(dx, dy);
    });
    host.addEventListener("pointerup", () => (drag = null));
    host.addEventListener("pointerleave", () => told.hovered(null));
    host.addEventListener("pointerenter", () => told.entered(this));
    host.addEventListener("dblclick", () => told.enlarged(this));
    host.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        if (!this.image) return;
        if (event.ctrlKey) this.zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2, event);
        else told.stepped(this, Math.sign(event.deltaY));
      },
      { passive: false },
    );
  }
}

// The parts of a border between two slabs that belong to one of them alone, `ends` being the ends of both, sorted.
function closeSlab(ends, z, line) {
  for (let i = 0; i + 1 < ends.length; i += 2) if (ends[i] !== ends[i + 1]) line(ends[i], z, ends[i + 1], z);
}

// A slice as a NIfTI-1 file of RGBA in memory, which is how NiiVue takes an image.
function rgbaNifti(columns, rows, columnMm, rowMm, pixels) {
  const file = new ArrayBuffer(NII_HEADER_BYTES + pixels.byteLength);
  const header = new DataView(file);
  header.setInt32(0, 348, true);
  [3, columns, rows, 1, 1, 1, 1, 1].forEach((n, i) => header.setInt16(40 + 2 * i, n, true));
  header.setInt16(70, DT_RGBA32, true);
  header.setInt16(72, 32, true);
  [1, columnMm, rowMm, 1].forEach((mm, i) => header.setFloat32(76 + 4 * i, mm, true));
  header.setFloat32(108, NII_HEADER_BYTES, true);
  header.setFloat32(112, 1, true);
  header.setInt8(123, 2);
  header.setInt16(254, 1, true);
  header.setFloat32(280, columnMm, true);
  header.setFloat32(300, rowMm, true);
  header.setFloat32(320, 1, true);
  [0x6e, 0x2b, 0x31, 0].forEach((byte, i) => header.setUint8(344 + i, byte));
  new Uint8Array(file, NII_HEADER_BYTES).set(new Uint8Array(pixels.buffer));
  return file;
}
