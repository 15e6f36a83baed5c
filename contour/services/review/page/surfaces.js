// The structures in space, drawn by NiiVue: each polygon of the file as a ribbon as high as a slice is thick. Nothing
// is joined between slices and nothing smoothed, so a missing slice is a gap and a stray contour a piece.

const APART_MM = 1.5;

export class SurfaceView {
  constructor(host) {
    this.host = host;
    host.replaceChildren();
    const box = host.appendChild(document.createElement("div"));
    box.className = "image";
    this.canvas = box.appendChild(document.createElement("canvas"));
    this.title = host.appendChild(document.createElement("span"));
    this.title.className = "text title";
    this.meshes = new Map();
  }

  async attach() {
    this.nv = new niivue.Niivue({
      dragAndDropEnabled: false,
      isOrientCube: true,
      show3Dcrosshair: false,
      isAntiAlias: false,
      loadingText: "",
      logLevel: "error",
      sliceType: niivue.SLICE_TYPE.RENDER,
      meshThicknessOn2D: 0,
    });
    await this.nv.attachToCanvas(this.canvas, false);
  }

  clear() {
    for (const mesh of this.meshes.values()) mesh.unloadMesh(this.nv.gl);
    this.nv.meshes = [];
    this.meshes.clear();
  }

  open(scene, title) {
    this.clear();
    this.scene = scene;
    this.title.textContent = title;
    for (const structure of scene.structures) {
      const { points, triangles } = ribbons(scene, structure.roi_number);
      if (!triangles.length) continue;
      const color = new Uint8Array([...structure.color_rgb, 255]);
      const mesh = new niivue.NVMesh(points, triangles, structure.name, color, opacityOf(structure), true, this.nv.gl);
      mesh.meshShaderIndex = this.nv.meshShaderNameToNumber("Matte") ?? 0;
      this.meshes.set(structure.roi_number, mesh);
    }
    // What is seen through comes last. All at once: `addMesh` would draw the scene for each.
    this.nv.meshes = [...this.meshes.values()].sort((a, b) => b.opacity - a.opacity);
    [this.nv.scene.renderAzimuth, this.nv.scene.renderElevation] = [160, 15];
    this.nv.updateGLVolume();
    this.show(scene);
  }

  show(scene) {
    for (const structure of scene.structures) {
      const mesh = this.meshes.get(structure.roi_number);
      if (!mesh) continue;
      mesh.visible = structure.visible;
      mesh.opacity = structure.roi_number === scene.selected ? 1 : opacityOf(structure);
    }
    this.nv.drawScene();
  }
}

// What is large hides what lies in it, unless it is seen through.
function opacityOf(structure) {
  const volume = structure.volume_ml ?? 0;
  return volume > 8000 ? 0.03 : volume > 1200 ? 0.15 : 1;
}

function ribbons(scene, roi) {
  const { polygons, grid } = scene;
  const mm = Math.min(grid.spacing_zyx_mm[1], grid.spacing_zyx_mm[2]);
  const places = [];
  const corners = [];
  const at = (x, y, z) => {
    const m = grid.to_ras_mm;
    for (let row = 0; row < 12; row += 4) places.push(m[row] * x + m[row + 1] * y + m[row + 2] * z + m[row + 3]);
  };
  for (const z of polygons.slicesOf(roi)) {
    for (const polygon of polygons.onSlice(roi, z)) {
      const kept = thinned(polygons.points, polygon, APART_MM / mm);
      if (kept.length < 3) continue;
      const first = places.length / 3;
      for (const i of kept) {
        at(polygons.points[i], polygons.points[i + 1], z - 0.5);
        at(polygons.points[i], polygons.points[i + 1], z + 0.5);
      }
      for (let i = 0; i < kept.length; i++) {
        const [a, b] = [first + 2 * i, first + 2 * ((i + 1) % kept.length)];
        corners.push(a, b, a + 1, a + 1, b, b + 1);
      }
    }
  }
  return { points: new Float32Array(places), triangles: new Uint32Array(corners) };
}

// Points of a polygon that lie at least `apart` from one another; small polygons keep theirs.
function thinned(points, polygon, apart) {
  const kept = [];
  const limit = polygon.count < 24 ? 0 : apart * apart;
  for (let i = polygon.first * 2; i < (polygon.first + polygon.count) * 2; i += 2) {
    const last = kept[kept.length - 1];
    if (last === undefined || (points[i] - points[last]) ** 2 + (points[i + 1] - points[last + 1]) ** 2 >= limit) {
      kept.push(i);
    }
  }
  return kept;
}
